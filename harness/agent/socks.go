package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// RFC 1928. tailscaled's server (net/socks5, 1.80.3) needs no authentication, has CONNECT and UDP ASSOCIATE,
// and ends an association when its TCP connection ends.
const (
	socksVersion      = 5
	socksNoAuth       = 0
	socksConnectCmd   = 1
	socksAssociateCmd = 3
	socksIPv4         = 1
	socksName         = 3
	socksIPv6         = 4
)

// socksRefusal is the reply code of a server that would not connect us.
type socksRefusal byte

func (r socksRefusal) Error() string {
	return fmt.Sprintf("SOCKS5 server replied %d (%s)", byte(r), r.kind())
}

// kind: tailscaled answers 1 (general failure) for whatever its dial said, timeouts included.
func (r socksRefusal) kind() string {
	switch r {
	case 3, 4:
		return "unreachable"
	case 5:
		return "refused"
	case 6:
		return "timeout"
	}
	return "error"
}

func appendAddr(b []byte, to endpoint) []byte {
	ip, err := netip.ParseAddr(to.host)
	switch {
	case err != nil: // the callers' names are DNS names, 253 bytes at most
		b = append(append(b, socksName, byte(len(to.host))), to.host...)
	case ip.Is4():
		b = append(append(b, socksIPv4), ip.AsSlice()...)
	default:
		b = append(append(b, socksIPv6), ip.AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(b, to.port)
}

// readAddr takes the address that ends a reply or heads a datagram.
func readAddr(r io.Reader) (netip.AddrPort, error) {
	kind := make([]byte, 1)
	if _, err := io.ReadFull(r, kind); err != nil {
		return netip.AddrPort{}, err
	}
	size := map[byte]int{socksIPv4: 4, socksIPv6: 16}[kind[0]]
	if size == 0 {
		return netip.AddrPort{}, fmt.Errorf("SOCKS5 address type %d", kind[0])
	}
	raw := make([]byte, size+2)
	if _, err := io.ReadFull(r, raw); err != nil {
		return netip.AddrPort{}, err
	}
	ip, _ := netip.AddrFromSlice(raw[:size])
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(raw[size:])), nil
}

func socksCommand(ctx context.Context, server string, command byte, target endpoint) (net.Conn, netip.AddrPort, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	bound, err := socksDialogue(c, command, target)
	if err != nil {
		c.Close()
		return nil, bound, err
	}
	return c, bound, nil
}

func socksDialogue(c net.Conn, command byte, target endpoint) (netip.AddrPort, error) {
	if _, err := c.Write([]byte{socksVersion, 1, socksNoAuth}); err != nil {
		return netip.AddrPort{}, err
	}
	choice := make([]byte, 2)
	if _, err := io.ReadFull(c, choice); err != nil {
		return netip.AddrPort{}, err
	}
	if choice[1] != socksNoAuth {
		return netip.AddrPort{}, errors.New("SOCKS5 server wants authentication")
	}
	if _, err := c.Write(appendAddr([]byte{socksVersion, command, 0}, target)); err != nil {
		return netip.AddrPort{}, err
	}
	reply := make([]byte, 3)
	if _, err := io.ReadFull(c, reply); err != nil {
		return netip.AddrPort{}, err
	}
	if reply[1] != 0 {
		return netip.AddrPort{}, socksRefusal(reply[1])
	}
	return readAddr(c)
}

func socksConnect(ctx context.Context, server string, target endpoint) (net.Conn, error) {
	c, _, err := socksCommand(ctx, server, socksConnectCmd, target)
	return c, err
}

// datagrams is a UDP association seen as a connection to one target.
type datagrams struct {
	net.Conn          // the UDP socket to the relay
	control  net.Conn // keeps the association alive
	header   []byte
}

func socksAssociate(ctx context.Context, server string, target endpoint) (net.Conn, error) {
	control, relay, err := socksCommand(ctx, server, socksAssociateCmd, endpoint{"0.0.0.0", 0})
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", relay.String())
	if err != nil {
		control.Close()
		return nil, err
	}
	return &datagrams{Conn: c, control: control, header: appendAddr([]byte{0, 0, 0}, target)}, nil
}

func (d *datagrams) Write(p []byte) (int, error) {
	n, err := d.Conn.Write(append(append([]byte(nil), d.header...), p...))
	return max(0, n-len(d.header)), err
}

func (d *datagrams) Read(p []byte) (int, error) {
	buf := make([]byte, len(p)+64)
	n, err := d.Conn.Read(buf)
	if err != nil {
		return 0, err
	}
	if n < 7 {
		return 0, errors.New("short SOCKS5 datagram")
	}
	size := map[byte]int{socksIPv4: 10, socksIPv6: 22, socksName: 7 + int(buf[4])}[buf[3]]
	if size == 0 || n < size {
		return 0, errors.New("malformed SOCKS5 datagram")
	}
	return copy(p, buf[size:n]), nil
}

func (d *datagrams) Close() error {
	d.control.Close()
	return d.Conn.Close()
}
