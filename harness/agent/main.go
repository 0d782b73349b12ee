// The agent is the harness's hand inside a client's machine: it answers echoes with its own identity, probes
// other machines on command, and starts and stops the programs of the machine.
//
// It speaks JSON lines over a Unix socket. A request is {"id": n, "op": "...", ...}; its answer carries the
// same id and either "result" or "error". Requests run at the same time; answers come in any order. A line
// with "event" instead of "id" tells of something nobody asked for: a program that ended.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// maxRequest bounds one request line: argv and environment of a program, with room.
const maxRequest = 1 << 20

type request struct {
	ID int    `json:"id"`
	Op string `json:"op"`
}

type response struct {
	ID     int    `json:"id,omitempty"`
	Event  string `json:"event,omitempty"`
	Result any    `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

type agent struct {
	identity identity
	whois    string // tailscaled's socket for asking who is behind a source address; empty: nobody is asked
	programs *programs
	echoes   *echoes
	nats     nats
	capture  *capture
	bound    boundSockets

	mu    sync.Mutex
	conns map[*conn]bool
}

// conn serialises the lines written to one peer.
type conn struct {
	mu sync.Mutex
	net.Conn
}

func (c *conn) send(r response) {
	line, err := json.Marshal(r)
	if err != nil {
		line, _ = json.Marshal(response{ID: r.ID, Error: err.Error()})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Conn.Write(append(line, '\n'))
}

func (a *agent) broadcast(r response) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		c.send(r)
	}
}

func (a *agent) serve(c *conn) {
	a.mu.Lock()
	a.conns[c] = true
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.conns, c)
		a.mu.Unlock()
		c.Close()
	}()
	lines := bufio.NewScanner(c)
	lines.Buffer(nil, maxRequest)
	for lines.Scan() {
		line := append([]byte(nil), lines.Bytes()...)
		go func() {
			var head request
			if err := json.Unmarshal(line, &head); err != nil {
				c.send(response{Error: "not a request: " + err.Error()})
				return
			}
			result, err := a.handle(head.Op, line)
			if err != nil {
				c.send(response{ID: head.ID, Error: err.Error()})
				return
			}
			c.send(response{ID: head.ID, Result: result})
		}()
	}
}

func decode[T any](line []byte, f func(T) (any, error)) (any, error) {
	var v T
	if err := json.Unmarshal(line, &v); err != nil {
		return nil, err
	}
	return f(v)
}

func (a *agent) handle(op string, line []byte) (any, error) {
	switch op {
	case "hello":
		return a.identity, nil
	case "listen":
		return decode(line, a.echoes.listen)
	case "mirror":
		return decode(line, mirror)
	case "probe":
		return decode(line, probe)
	case "row":
		return decode(line, row)
	case "mirror_streams":
		return decode(line, mirrorStreams)
	case "stream":
		return decode(line, stream)
	case "resolve":
		return decode(line, resolve)
	case "nat":
		return decode(line, a.nats.start)
	case "bind":
		return decode(line, a.bound.bind)
	case "send":
		return decode(line, a.bound.send)
	case "receive":
		return decode(line, a.bound.receive)
	case "capture":
		return decode(line, a.capture.write)
	case "start":
		return decode(line, a.programs.start)
	case "signal":
		return decode(line, a.programs.signal)
	case "exec":
		return decode(line, a.programs.exec)
	}
	return nil, fmt.Errorf("unknown op %q", op)
}

// listenUnix replaces a socket that an earlier run left and lets every user of the host connect: the
// directory's own permissions say who gets that far.
func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o666)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "agent:", err)
	os.Exit(1)
}

func main() {
	name := flag.String("name", "", "the machine's name, told in every echo")
	socket := flag.String("socket", "", "path of the Unix socket for commands")
	whois := flag.String("whois", "", "path of tailscaled's socket, to name the peer behind a source address")
	untilEOF := flag.Bool("until-eof", false, "stop when standard input ends, so that we never outlive our parent")
	keepPackets := flag.Bool("capture", false, "keep the machine's last packets; the machine has a network of its own")
	flag.Parse()
	if os.Getpid() == 1 {
		superviseAsInit()
	}
	listener, err := listenUnix(*socket)
	if err != nil {
		fail(err)
	}
	a := &agent{identity: newIdentity(*name), whois: *whois, conns: map[*conn]bool{}}
	a.capture = &capture{err: errors.New("this machine has no network of its own")}
	if *keepPackets {
		a.capture = startCapture()
	}
	a.programs = newPrograms(func(e exited) { a.broadcast(response{Event: "exited", Result: e}) })
	a.echoes = &echoes{identity: a.identity, whois: *whois}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if *untilEOF {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			stop <- syscall.SIGTERM
		}()
	}
	go func() {
		<-stop
		a.programs.stopAll(3 * time.Second)
		os.Exit(0)
	}()
	for {
		c, err := listener.Accept()
		if err != nil {
			fail(err)
		}
		go a.serve(&conn{Conn: c})
	}
}
