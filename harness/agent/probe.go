package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
)

// resend is how often an unanswered datagram goes out again: often enough that one lost packet does not
// decide a probe, seldom enough not to load two cores with a large matrix.
const resend = 300 * time.Millisecond

type probeRequest struct {
	Network   string `json:"network"` // tcp, udp or icmp
	Address   string `json:"address"` // an IP address; with socks also a name, for the server to resolve
	Port      int    `json:"port"`    // not for icmp
	TimeoutMS int    `json:"timeout_ms"`
	Socks     string `json:"socks"` // host:port of a SOCKS5 server to go through; empty: the kernel's routes
	Nonce     string `json:"nonce"`
}

// probed is what a probe saw. Kind is "" when it was answered, else refused, timeout, unreachable, wrong
// (an answer to another question) or error.
type probed struct {
	Reached   bool    `json:"reached"`
	Answer    *answer `json:"answer,omitempty"`
	ElapsedMS float64 `json:"elapsed_ms"`
	Kind      string  `json:"kind,omitempty"`
	Error     string  `json:"error,omitempty"`
}

func probe(r probeRequest) (any, error) {
	target := endpoint{r.Address, uint16(r.Port)}
	ip, err := netip.ParseAddr(r.Address)
	if err != nil && (r.Socks == "" || r.Network == "icmp") {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.TimeoutMS)*time.Millisecond)
	defer cancel()
	start := time.Now()
	var got *answer
	switch r.Network {
	case "tcp":
		got, err = probeTCP(ctx, target, r.Socks, r.Nonce)
	case "udp":
		got, err = probeUDP(ctx, target, r.Socks, r.Nonce)
	case "icmp":
		err = probeICMP(ctx, ip)
	default:
		return nil, fmt.Errorf("network %q is not tcp, udp or icmp", r.Network)
	}
	result := probed{Reached: err == nil, Answer: got, ElapsedMS: float64(time.Since(start).Microseconds()) / 1000}
	if err != nil {
		result.Kind, result.Error = kindOf(ctx, err), err.Error()
	}
	return result, nil
}

var errWrong = errors.New("the answer is to another question")

func kindOf(ctx context.Context, err error) string {
	var refusal socksRefusal
	switch {
	case errors.Is(err, errWrong):
		return "wrong"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return "refused"
	case errors.As(err, &refusal):
		return refusal.kind()
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil:
		return "timeout"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	}
	return "error"
}

// endpoint is where a probe goes: an IP address or a name, and a port.
type endpoint struct {
	host string
	port uint16
}

func (e endpoint) String() string { return net.JoinHostPort(e.host, strconv.Itoa(int(e.port))) }

func ask(nonce string) []byte {
	line, _ := json.Marshal(question{nonce})
	return append(line, '\n')
}

func check(raw []byte, nonce string) (*answer, error) {
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, fmt.Errorf("%w: %q", errWrong, raw)
	}
	if a.Nonce != nonce {
		return &a, errWrong
	}
	return &a, nil
}

func probeTCP(ctx context.Context, target endpoint, socks, nonce string) (*answer, error) {
	c, err := dialTCP(ctx, target, socks)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	if _, err := c.Write(ask(nonce)); err != nil {
		return nil, err
	}
	line, err := bufio.NewReaderSize(c, maxEcho).ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return check(line, nonce)
}

func dialTCP(ctx context.Context, target endpoint, socks string) (net.Conn, error) {
	if socks != "" {
		return socksConnect(ctx, socks, target)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", target.String())
}

func dialUDP(ctx context.Context, target endpoint, socks string) (net.Conn, error) {
	if socks != "" {
		return socksAssociate(ctx, socks, target)
	}
	var d net.Dialer
	return d.DialContext(ctx, "udp", target.String())
}

func probeUDP(ctx context.Context, target endpoint, socks, nonce string) (*answer, error) {
	c, err := dialUDP(ctx, target, socks)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	buf := make([]byte, maxEcho)
	var last error
	for {
		if _, err := c.Write(ask(nonce)); err != nil {
			last = err
		}
		n, err := readWithin(ctx, c, buf, resend)
		if err == nil {
			return check(buf[:n], nonce)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			last = err
			select { // a refusal comes at once; do not spin on it
			case <-ctx.Done():
			case <-time.After(resend):
			}
		}
		if ctx.Err() != nil {
			if last != nil {
				return nil, last
			}
			return nil, ctx.Err()
		}
	}
}

func readWithin(ctx context.Context, c net.Conn, buf []byte, limit time.Duration) (int, error) {
	until := time.Now().Add(limit)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	c.SetReadDeadline(until)
	return c.Read(buf)
}
