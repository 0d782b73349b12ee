package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// maxEcho bounds one echo question or answer, which must fit one datagram inside a tunnel of 1280 bytes.
const maxEcho = 1200

// identity says who answers: the name we were given and a number drawn at start, so that an answer from an
// earlier life of the same machine is told apart.
type identity struct {
	Name     string `json:"name"`
	Instance string `json:"instance"`
}

func newIdentity(name string) identity {
	raw := make([]byte, 8)
	rand.Read(raw)
	return identity{Name: name, Instance: hex.EncodeToString(raw)}
}

type question struct {
	Nonce string `json:"nonce"`
}

// answer repeats the question's nonce. Source is the address that the question came from as the kernel saw
// it; Peer the tailnet addresses of whoever tailscaled says is behind it.
type answer struct {
	identity
	Nonce  string   `json:"nonce"`
	Source string   `json:"source"`
	Peer   []string `json:"peer,omitempty"`
}

type echoes struct {
	identity identity
	whois    string
}

type listenRequest struct {
	Host string `json:"host"` // empty: every address, IPv4 and IPv6
	Port int    `json:"port"` // 0: one that is free for TCP and UDP
}

type listening struct {
	Port int `json:"port"`
}

func (e *echoes) listen(r listenRequest) (any, error) {
	for attempt := 0; ; attempt++ {
		port, err := e.listenBoth(r.Host, r.Port)
		if err == nil {
			return listening{port}, nil
		}
		if r.Port != 0 || attempt == 20 {
			return nil, err
		}
	}
}

func (e *echoes) listenBoth(host string, port int) (int, error) {
	stream, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return 0, err
	}
	port = stream.Addr().(*net.TCPAddr).Port
	packets, err := net.ListenPacket("udp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		stream.Close()
		return 0, err
	}
	go e.serveTCP(stream)
	go e.serveUDP(packets)
	return port, nil
}

func (e *echoes) answer(raw []byte, network string, source netip.AddrPort) ([]byte, error) {
	var q question
	if err := json.Unmarshal(raw, &q); err != nil {
		return nil, err
	}
	source = netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
	a := answer{identity: e.identity, Nonce: q.Nonce, Source: source.String()}
	if e.whois != "" {
		a.Peer, _ = whoIs(e.whois, network, source)
	}
	line, err := json.Marshal(a)
	return append(line, '\n'), err
}

// accept gives each connection to serve, and closes it afterwards, until the listener ends.
func accept(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}

func (e *echoes) serveTCP(l net.Listener) {
	accept(l, func(c net.Conn) {
		c.SetDeadline(time.Now().Add(30 * time.Second))
		line, err := bufio.NewReaderSize(c, maxEcho).ReadSlice('\n')
		if err != nil {
			return
		}
		if reply, err := e.answer(line, "tcp", c.RemoteAddr().(*net.TCPAddr).AddrPort()); err == nil {
			c.Write(reply)
		}
	})
}

func (e *echoes) serveUDP(p net.PacketConn) {
	buf := make([]byte, maxEcho)
	for {
		n, addr, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		raw := append([]byte(nil), buf[:n]...)
		go func() {
			if reply, err := e.answer(raw, "udp", addr.(*net.UDPAddr).AddrPort()); err == nil {
				p.WriteTo(reply, addr)
			}
		}()
	}
}

// whoIs asks tailscaled which node is behind a source address. In userspace mode every tunnel connection
// arrives from loopback, and tailscaled keeps the table that undoes it.
// Source: tailscale 1.80.3, ipn/localapi serveWhoIs, wgengine/netstack RegisterIPPortIdentity.
func whoIs(socket, network string, source netip.AddrPort) ([]string, error) {
	query := url.Values{"addr": {source.String()}, "proto": {network}}
	var who struct {
		Node struct{ Addresses []netip.Prefix }
	}
	if err := localAPI(socket, "whois?"+query.Encode(), &who); err != nil {
		return nil, err
	}
	var out []string
	for _, p := range who.Node.Addresses {
		out = append(out, p.Addr().String())
	}
	return out, nil
}

// localAPI reads one JSON answer of tailscaled.
func localAPI(socket, path string, into any) error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	res, err := client.Get("http://local-tailscaled.sock/localapi/v0/" + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(into)
}
