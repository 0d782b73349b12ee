package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

type resolveRequest struct {
	Name      string `json:"name"`
	Type      string `json:"type"`   // A or AAAA
	Server    string `json:"server"` // host:port, 100.100.100.100:53 for MagicDNS; empty: ask the daemon
	Daemon    string `json:"daemon"` // tailscaled's socket, whose resolver answers as MagicDNS does
	TimeoutMS int    `json:"timeout_ms"`
}

type resolved struct {
	Rcode     int      `json:"rcode"` // RFC 1035: 0 no error, 2 server failure, 3 no such name, 5 refused
	Addresses []string `json:"addresses"`
}

var queryTypes = map[string]uint16{"A": 1, "AAAA": 28}

// resolve sends one question in a datagram of its own, past the resolver library and its search list, and
// returns the answer section's addresses.
func resolve(r resolveRequest) (any, error) {
	kind, ok := queryTypes[r.Type]
	if !ok {
		return nil, fmt.Errorf("type %q is not A or AAAA", r.Type)
	}
	if r.Server == "" {
		return resolveByDaemon(r, kind)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.TimeoutMS)*time.Millisecond)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", r.Server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	id := make([]byte, 2)
	rand.Read(id)
	query, err := dnsQuery(id, r.Name, kind)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	for ctx.Err() == nil {
		if _, err := c.Write(query); err != nil {
			return nil, err
		}
		n, err := readWithin(ctx, c, buf, resend)
		if err == nil && n >= 12 && buf[0] == id[0] && buf[1] == id[1] {
			return dnsAnswer(buf[:n], kind)
		}
	}
	return nil, fmt.Errorf("no answer from %s for %s %s: %w", r.Server, r.Name, r.Type, ctx.Err())
}

// resolveByDaemon asks tailscaled's own resolver, the one behind 100.100.100.100, for machines without a
// kernel interface to send the question through.
// Source: tailscale 1.80.3, ipn/localapi serveDNSQuery.
func resolveByDaemon(r resolveRequest, kind uint16) (any, error) {
	var answer struct{ Bytes []byte }
	query := url.Values{"name": {r.Name}, "type": {r.Type}}
	if err := localAPI(r.Daemon, "dns-query?"+query.Encode(), &answer); err != nil {
		return nil, err
	}
	if len(answer.Bytes) < 12 {
		return nil, errShort
	}
	return dnsAnswer(answer.Bytes, kind)
}

func dnsQuery(id []byte, name string, kind uint16) ([]byte, error) {
	packet := append(append([]byte(nil), id...), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0) // recursion desired, one question
	for _, label := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		if len(label) == 0 || len(label) > 63 {
			return nil, fmt.Errorf("%q is not a DNS name", name)
		}
		packet = append(append(packet, byte(len(label))), label...)
	}
	packet = append(packet, 0)
	packet = binary.BigEndian.AppendUint16(packet, kind)
	return binary.BigEndian.AppendUint16(packet, 1), nil
}

var errShort = errors.New("DNS answer is cut short")

func dnsAnswer(p []byte, kind uint16) (resolved, error) {
	out := resolved{Rcode: int(p[3] & 15), Addresses: []string{}}
	questions, answers := binary.BigEndian.Uint16(p[4:]), binary.BigEndian.Uint16(p[6:])
	at := 12
	for range questions {
		at = skipName(p, at) + 4
	}
	for range answers {
		at = skipName(p, at)
		if at+10 > len(p) {
			return out, errShort
		}
		got, size := binary.BigEndian.Uint16(p[at:]), int(binary.BigEndian.Uint16(p[at+8:]))
		at += 10
		if at+size > len(p) {
			return out, errShort
		}
		if ip, ok := netip.AddrFromSlice(p[at : at+size]); ok && got == kind {
			out.Addresses = append(out.Addresses, ip.String())
		}
		at += size
	}
	return out, nil
}

// skipName returns the offset past a name; a compression pointer (two bytes) ends it.
func skipName(p []byte, at int) int {
	for at < len(p) && p[at] != 0 {
		if p[at]&0xc0 == 0xc0 {
			return at + 2
		}
		at += int(p[at]) + 1
	}
	return at + 1
}
