package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// boundSockets are UDP sockets that commands send and receive through one packet at a time, by their ports: to see
// what a way does to packets, where a probe would only tell whether it was answered.
type boundSockets struct {
	mu     sync.Mutex
	byPort map[int]*net.UDPConn
}

type bindRequest struct {
	Host string `json:"host"` // empty: every address
	Port int    `json:"port"` // 0: one that is free
}

type sendRequest struct {
	Port int    `json:"port"`
	To   string `json:"to"` // host:port
	Text string `json:"text"`
}

type receiveRequest struct {
	Port      int `json:"port"`
	TimeoutMS int `json:"timeout_ms"`
}

// received has an empty From when nothing came in time.
type received struct {
	From string `json:"from"`
	Text string `json:"text"`
}

func (s *boundSockets) bind(r bindRequest) (any, error) {
	address, err := net.ResolveUDPAddr("udp", net.JoinHostPort(r.Host, fmt.Sprint(r.Port)))
	if err != nil {
		return nil, err
	}
	c, err := net.ListenUDP("udp", address)
	if err != nil {
		return nil, err
	}
	port := c.LocalAddr().(*net.UDPAddr).Port
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byPort == nil {
		s.byPort = map[int]*net.UDPConn{}
	}
	s.byPort[port] = c
	return listening{port}, nil
}

func (s *boundSockets) at(port int) (*net.UDPConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.byPort[port]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("no socket is bound to port %d", port)
}

func (s *boundSockets) send(r sendRequest) (any, error) {
	c, err := s.at(r.Port)
	if err != nil {
		return nil, err
	}
	to, err := netip.ParseAddrPort(r.To)
	if err != nil {
		return nil, err
	}
	_, err = c.WriteToUDPAddrPort([]byte(r.Text), to)
	return struct{}{}, err
}

func (s *boundSockets) receive(r receiveRequest) (any, error) {
	c, err := s.at(r.Port)
	if err != nil {
		return nil, err
	}
	c.SetReadDeadline(time.Now().Add(time.Duration(r.TimeoutMS) * time.Millisecond))
	buf := make([]byte, maxUDP)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return received{}, nil
	}
	if err != nil {
		return nil, err
	}
	return received{netip.AddrPortFrom(from.Addr().Unmap(), from.Port()).String(), string(buf[:n])}, nil
}
