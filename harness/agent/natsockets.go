package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// maxUDP is the longest payload that a datagram can have.
const maxUDP = 65507

// nat is a running NAT for UDP over IPv4. What the LAN's machines send comes by TPROXY to one socket that learns
// where each packet was going; each mapping is a socket at the outer address; and what comes back goes to the LAN by
// a raw socket, under the remote end's own address.
type nat struct {
	outside netip.Addr
	inner   *net.UDPConn
	raw     int

	mu    sync.Mutex
	table *natTable
	outer map[*mapping]*net.UDPConn
}

// nats is the machine's NAT, if it is a router that has one.
type nats struct {
	mu      sync.Mutex
	running *nat
}

// start runs this NAT instead of the one that ran before, whose mappings are all gone then.
func (n *nats) start(r natRequest) (any, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running != nil {
		n.running.close()
		n.running = nil
	}
	made, err := newNAT(r)
	if err != nil {
		return nil, err
	}
	n.running = made
	return listening{made.inner.LocalAddr().(*net.UDPAddr).Port}, nil
}

func newNAT(r natRequest) (*nat, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	outside, err := netip.ParseAddr(r.Outside)
	if err != nil || !outside.Is4() {
		return nil, errors.Join(errors.New("the outside address must be an IPv4 address"), err)
	}
	inner, err := listenTransparent(r.Inside)
	if err != nil {
		return nil, err
	}
	raw, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.IPPROTO_RAW)
	if err != nil {
		inner.Close()
		return nil, err
	}
	n := &nat{
		outside: outside, inner: inner, raw: raw, table: newNATTable(r),
		outer: map[*mapping]*net.UDPConn{},
	}
	go n.serveInner()
	go n.expire()
	return n, nil
}

// listenTransparent takes packets to any address, and asks to be told to which.
func listenTransparent(port int) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = errors.Join(
				syscall.SetsockoptInt(int(fd), syscall.SOL_IP, syscall.IP_TRANSPARENT, 1),
				syscall.SetsockoptInt(int(fd), syscall.SOL_IP, syscall.IP_RECVORIGDSTADDR, 1),
			)
		})
		return errors.Join(err, failed)
	}}
	address := netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)).String()
	c, err := config.ListenPacket(context.Background(), "udp4", address)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

func (n *nat) serveInner() {
	buf, oob := make([]byte, maxUDP), make([]byte, 256)
	for {
		size, oobSize, _, from, err := n.inner.ReadMsgUDPAddrPort(buf, oob)
		if err != nil {
			return
		}
		if to, ok := originalDestination(oob[:oobSize]); ok {
			n.sendOut(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), to, buf[:size])
		}
	}
}

// originalDestination reads the control message that IP_RECVORIGDSTADDR asks for: a sockaddr_in.
func originalDestination(oob []byte) (netip.AddrPort, bool) {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.AddrPort{}, false
	}
	for _, m := range messages {
		if m.Header.Level == syscall.SOL_IP && m.Header.Type == syscall.IP_ORIGDSTADDR && len(m.Data) >= 8 {
			address, _ := netip.AddrFromSlice(m.Data[4:8])
			return netip.AddrPortFrom(address, binary.BigEndian.Uint16(m.Data[2:4])), true
		}
	}
	return netip.AddrPort{}, false
}

func (n *nat) sendOut(inside, remote netip.AddrPort, payload []byte) {
	if remote.Addr() == n.outside && !n.table.request.Hairpin {
		return
	}
	n.mu.Lock()
	if n.outer == nil {
		n.mu.Unlock()
		return
	}
	m, isNew := n.table.outbound(inside, remote, time.Now())
	if isNew {
		c, err := n.open(inside.Port())
		if err != nil { // no port is free: the packet is lost, and the next one tries again
			delete(n.table.mappings, m.flow)
			n.mu.Unlock()
			return
		}
		n.outer[m] = c
		go n.serveOuter(m, c)
	}
	c := n.outer[m]
	n.mu.Unlock()
	// An unreachable network is lost packets to whoever sent them, and so is a mapping that ended meanwhile.
	n.later(payload, func(payload []byte) { c.WriteToUDPAddrPort(payload, remote) })
}

// later does it with the packet after the latency. Packets of one flow may overtake each other, as in any network.
func (n *nat) later(payload []byte, send func([]byte)) {
	if n.table.request.LatencyMS == 0 {
		send(payload)
		return
	}
	kept := append([]byte(nil), payload...)
	time.AfterFunc(time.Duration(n.table.request.LatencyMS)*time.Millisecond, func() { send(kept) })
}

func (n *nat) open(wanted uint16) (*net.UDPConn, error) {
	if n.table.request.KeepPort {
		at := netip.AddrPortFrom(n.outside, wanted)
		if c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err == nil {
			return c, nil
		}
	}
	return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(n.outside, 0)))
}

func (n *nat) serveOuter(m *mapping, c *net.UDPConn) {
	buf := make([]byte, maxUDP)
	for {
		size, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier packet
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		n.mu.Lock()
		admitted := n.table.admits(m, from, time.Now())
		n.mu.Unlock()
		if admitted {
			n.later(buf[:size], func(payload []byte) { n.sendIn(from, m.flow.inside, payload) })
		}
	}
}

// sendIn writes a packet whose source is not ours. The kernel fills in the IP header's length and checksum (raw(7));
// a UDP checksum of 0 means none (RFC 768).
func (n *nat) sendIn(from, to netip.AddrPort, payload []byte) {
	packet := make([]byte, 28, 28+len(payload))
	packet[0], packet[8], packet[9] = 0x45, 64, syscall.IPPROTO_UDP // version and header length, TTL, protocol
	source, destination := from.Addr().As4(), to.Addr().As4()
	copy(packet[12:], source[:])
	copy(packet[16:], destination[:])
	binary.BigEndian.PutUint16(packet[20:], from.Port())
	binary.BigEndian.PutUint16(packet[22:], to.Port())
	binary.BigEndian.PutUint16(packet[24:], uint16(8+len(payload)))
	syscall.Sendto(n.raw, append(packet, payload...), 0, &syscall.SockaddrInet4{Addr: destination})
}

// expire looks several times a lifetime for what has gone silent, until the NAT ends.
func (n *nat) expire() {
	for range time.Tick(max(n.table.lifetime/10, 10*time.Millisecond)) {
		n.mu.Lock()
		if n.outer == nil {
			n.mu.Unlock()
			return
		}
		for _, m := range n.table.expire(time.Now()) {
			n.outer[m].Close()
			delete(n.outer, m)
		}
		n.mu.Unlock()
	}
}

func (n *nat) close() {
	n.inner.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.outer {
		c.Close()
	}
	n.outer = nil
	syscall.Close(n.raw)
}
