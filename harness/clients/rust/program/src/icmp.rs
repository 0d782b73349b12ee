//! ICMP echo over the network stack's raw sockets: builds requests and replies, reads them, and answers those of
//! others. The stack of 0.6.1 is built without smoltcp's automatic replies, so nobody else would.
//!
//! Sources: RFC 791, RFC 792, RFC 1071, RFC 4443, RFC 8200.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const ECHO_HEADER: usize = 8;
const HOP_LIMIT: u8 = 64;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Reply,
}

/// One echo packet; `body` is identifier, sequence number and payload.
#[derive(Debug, PartialEq, Eq)]
pub struct Echo {
    pub kind: Kind,
    pub source: IpAddr,
    pub target: IpAddr,
    pub body: Vec<u8>,
}

impl Echo {
    /// A request whose identifier and sequence number are the two halves of `number`.
    pub fn request(source: IpAddr, target: IpAddr, number: u32) -> Self {
        Echo { kind: Kind::Request, source, target, body: number.to_be_bytes().to_vec() }
    }

    /// The answer to a request.
    pub fn reply(&self) -> Self {
        Echo { kind: Kind::Reply, source: self.target, target: self.source, body: self.body.clone() }
    }

    /// The identifier and the sequence number.
    pub fn number(&self) -> u32 {
        u32::from_be_bytes([self.body[0], self.body[1], self.body[2], self.body[3]])
    }

    /// The whole IP packet; None when the addresses are of different families.
    pub fn packet(&self) -> Option<Vec<u8>> {
        match (self.source, self.target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => Some(self.packet4(source, target)),
            (IpAddr::V6(source), IpAddr::V6(target)) => Some(self.packet6(source, target)),
            _ => None,
        }
    }

    fn packet4(&self, source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
        let message = self.message(if self.kind == Kind::Request { 8 } else { 0 }, &[]);
        let length = (IPV4_HEADER + message.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, HOP_LIMIT, PROTOCOL_ICMP, 0, 0]);
        packet.extend(source.octets());
        packet.extend(target.octets());
        let sum = checksum(&[&packet]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(message);
        packet
    }

    fn packet6(&self, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
        let length = (4 + self.body.len()) as u16;
        let mut pseudo = [source.octets(), target.octets()].concat();
        pseudo.extend(u32::from(length).to_be_bytes());
        pseudo.extend([0, 0, 0, PROTOCOL_ICMPV6]);
        let message = self.message(if self.kind == Kind::Request { 128 } else { 129 }, &pseudo);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([PROTOCOL_ICMPV6, HOP_LIMIT]);
        packet.extend(source.octets());
        packet.extend(target.octets());
        packet.extend(message);
        packet
    }

    fn message(&self, number: u8, pseudo: &[u8]) -> Vec<u8> {
        let mut message = vec![number, 0, 0, 0];
        message.extend(&self.body);
        let sum = checksum(&[pseudo, &message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }
}

/// Read an IP packet; None when it is not an echo request or reply. The stack has checked what surrounds it.
pub fn parse(packet: &[u8]) -> Option<Echo> {
    let (source, target, message) = match packet.first()? >> 4 {
        4 if packet.len() >= IPV4_HEADER && packet[9] == PROTOCOL_ICMP => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let source: [u8; 4] = packet[12..16].try_into().ok()?;
            let target: [u8; 4] = packet[16..20].try_into().ok()?;
            (IpAddr::from(source), IpAddr::from(target), packet.get(header..)?)
        }
        6 if packet.len() >= IPV6_HEADER && packet[6] == PROTOCOL_ICMPV6 => {
            let source: [u8; 16] = packet[8..24].try_into().ok()?;
            let target: [u8; 16] = packet[24..40].try_into().ok()?;
            (IpAddr::from(source), IpAddr::from(target), &packet[IPV6_HEADER..])
        }
        _ => return None,
    };
    if message.len() < ECHO_HEADER {
        return None;
    }
    let kind = match (source.is_ipv4(), message[0]) {
        (true, 8) | (false, 128) => Kind::Request,
        (true, 0) | (false, 129) => Kind::Reply,
        _ => return None,
    };
    Some(Echo { kind, source, target, body: message[4..].to_vec() })
}

/// The ones' complement sum of RFC 1071 over the parts; each but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(source: &str, target: &str) -> Echo {
        Echo::request(source.parse().unwrap(), target.parse().unwrap(), 0x1234_0001)
    }

    #[test]
    fn what_is_built_reads_back() {
        for sent in [echo("100.64.0.1", "100.64.0.2"), echo("fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2")] {
            assert_eq!(parse(&sent.packet().unwrap()), Some(sent));
        }
    }

    #[test]
    fn a_header_sums_to_zero_with_its_checksum() {
        let packet = echo("100.64.0.1", "100.64.0.2").packet().unwrap();
        assert_eq!((checksum(&[&packet[..20]]), checksum(&[&packet[20..]])), (0, 0));
    }

    #[test]
    fn a_reply_goes_back_with_the_same_body() {
        let request = echo("100.64.0.1", "100.64.0.2");
        let reply = request.reply();
        assert_eq!((reply.kind, reply.source, &reply.body), (Kind::Reply, request.target, &request.body));
    }

    #[test]
    fn other_packets_and_cut_ones_are_nothing() {
        let packet = echo("fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2").packet().unwrap();
        assert!((0..48).all(|length| parse(&packet[..length]).is_none()));
        assert_eq!(parse(&[0x45; 40]), None);
    }
}
