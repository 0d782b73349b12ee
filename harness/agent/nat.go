package main

import (
	"fmt"
	"net/netip"
	"time"
)

// What a NAT does with UDP is told by two words of RFC 4787 (sections 4.1 and 5), each with the same three values:
// mapping, by what of its remote end a flow gets an outside port of its own; and filtering, by what of its remote end
// a packet from outside is let in.
const (
	byNothing     = "endpoint-independent"
	byAddress     = "address-dependent"
	byAddressPort = "address-and-port-dependent"
)

// scope is the part of a remote end that counts.
func scope(kind string, remote netip.AddrPort) netip.AddrPort {
	switch kind {
	case byNothing:
		return netip.AddrPort{}
	case byAddress:
		return netip.AddrPortFrom(remote.Addr(), 0)
	}
	return remote
}

type natRequest struct {
	Outside   string `json:"outside"`   // the router's address on the outer side, where its ports are
	Inside    int    `json:"inside"`    // the port to which TPROXY hands what comes from the LAN
	Mapping   string `json:"mapping"`   // as above
	Filtering string `json:"filtering"` // as above
	KeepPort  bool   `json:"keep_port"` // take the inner port outside too, where it is free
	Hairpin   bool   `json:"hairpin"`   // the LAN's machines reach each other by the router's outer address
	// LifetimeMS is for how long a mapping lasts after the last packet from inside (RFC 4787, REQ-5: two minutes).
	LifetimeMS int `json:"lifetime_ms"`
	LatencyMS  int `json:"latency_ms"` // how much later a packet leaves than it came, either way
}

func (r natRequest) check() error {
	for _, kind := range []string{r.Mapping, r.Filtering} {
		if kind != byNothing && kind != byAddress && kind != byAddressPort {
			return fmt.Errorf("%q is not %s, %s or %s", kind, byNothing, byAddress, byAddressPort)
		}
	}
	if r.LatencyMS < 0 {
		return fmt.Errorf("a latency of %d ms is negative", r.LatencyMS)
	}
	if r.LifetimeMS <= 0 {
		return fmt.Errorf("a lifetime of %d ms is not positive", r.LifetimeMS)
	}
	return nil
}

// flow is what has an outside port of its own.
type flow struct {
	inside netip.AddrPort
	remote netip.AddrPort // the part that counts for the mapping
}

// mapping is one outside port. It does not know which; whoever holds its socket does.
type mapping struct {
	flow     flow
	admitted map[netip.AddrPort]time.Time // parts that count for filtering, and when they were last sent to
	lastOut  time.Time
}

// natTable decides; it has neither sockets nor a clock.
type natTable struct {
	request  natRequest
	lifetime time.Duration
	mappings map[flow]*mapping
}

func newNATTable(r natRequest) *natTable {
	lifetime := time.Duration(r.LifetimeMS) * time.Millisecond
	return &natTable{request: r, lifetime: lifetime, mappings: map[flow]*mapping{}}
}

// outbound notes a packet from inside, and returns the mapping that it leaves by and whether that is a new one.
func (t *natTable) outbound(inside, remote netip.AddrPort, now time.Time) (*mapping, bool) {
	f := flow{inside, scope(t.request.Mapping, remote)}
	m, known := t.mappings[f]
	if !known {
		m = &mapping{flow: f, admitted: map[netip.AddrPort]time.Time{}}
		t.mappings[f] = m
	}
	m.lastOut = now
	m.admitted[scope(t.request.Filtering, remote)] = now
	return m, !known
}

// admits says whether a packet from this remote end, at the mapping's outside port, is let in.
func (t *natTable) admits(m *mapping, remote netip.AddrPort, now time.Time) bool {
	sent, ok := m.admitted[scope(t.request.Filtering, remote)]
	return ok && now.Sub(sent) < t.lifetime
}

// expire forgets what has been silent for a lifetime, and returns the mappings that ended.
func (t *natTable) expire(now time.Time) []*mapping {
	var ended []*mapping
	for f, m := range t.mappings {
		if now.Sub(m.lastOut) >= t.lifetime {
			delete(t.mappings, f)
			ended = append(ended, m)
		}
		for remote, sent := range m.admitted {
			if now.Sub(sent) >= t.lifetime {
				delete(m.admitted, remote)
			}
		}
	}
	return ended
}
