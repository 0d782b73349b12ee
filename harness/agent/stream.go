package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
	"time"
)

// A stream is one TCP connection that is kept and used: what becomes of it tells what a change of the way does to
// people who are in the middle of something.

type mirrorStreamsRequest struct {
	Port int `json:"port"`
}

// mirrorStreams sends back whatever comes on connections to the port, for as long as they last.
func mirrorStreams(r mirrorStreamsRequest) (any, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(r.Port)))
	if err != nil {
		return nil, err
	}
	go accept(l, func(c net.Conn) { io.Copy(c, c) })
	return listening{l.Addr().(*net.TCPAddr).Port}, nil
}

type streamRequest struct {
	Address   string `json:"address"`
	Port      int    `json:"port"`
	ForMS     int    `json:"for_ms"`
	EveryMS   int    `json:"every_ms"`
	ConnectMS int    `json:"connect_ms"`
}

// streamed is what became of a stream: how many lines came back of those that were sent, the longest time without one,
// how long it was used, and how it ended: "" when it was open to the last and the last line came back, else silent,
// reset, closed or what the kernel said.
type streamed struct {
	Sent      int     `json:"sent"`
	Echoed    int     `json:"echoed"`
	GapMS     float64 `json:"gap_ms"`
	ElapsedMS float64 `json:"elapsed_ms"`
	Ended     string  `json:"ended"`
}

func stream(r streamRequest) (any, error) {
	target := net.JoinHostPort(r.Address, strconv.Itoa(r.Port))
	c, err := net.DialTimeout("tcp", target, time.Duration(r.ConnectMS)*time.Millisecond)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	start := time.Now()
	lines := make(chan error, 1024)
	go func() {
		in := bufio.NewReader(c)
		for {
			_, err := in.ReadSlice('\n')
			lines <- err
			if err != nil {
				return
			}
		}
	}()
	var s streamed
	last, ticker, end := start, time.NewTicker(time.Duration(r.EveryMS)*time.Millisecond), time.After(time.Duration(r.ForMS)*time.Millisecond)
	defer ticker.Stop()
	heard := func() {
		s.Echoed++
		s.GapMS = max(s.GapMS, milliseconds(time.Since(last)))
		last = time.Now()
	}
	for {
		select {
		case <-ticker.C:
			c.SetWriteDeadline(time.Now().Add(time.Duration(r.EveryMS) * time.Millisecond))
			// What does not fit is not taken; how the stream ends, the reader hears.
			if _, err := fmt.Fprintf(c, "%d\n", s.Sent); err == nil {
				s.Sent++
			}
		case err := <-lines:
			if err == nil {
				heard()
				continue
			}
			s.Ended = endOf(err)
			s.ElapsedMS = milliseconds(time.Since(start))
			return s, nil
		case <-end:
			s.GapMS = max(s.GapMS, milliseconds(time.Since(last)))
			s.ElapsedMS = milliseconds(time.Since(start))
			if time.Since(last) > 10*time.Duration(r.EveryMS)*time.Millisecond {
				s.Ended = "silent"
			}
			return s, nil
		}
	}
}

func endOf(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.Is(err, io.EOF):
		return "closed"
	}
	return err.Error()
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
