package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// A capture keeps the machine's last packets in memory, on all interfaces but loopback, the tunnel's among them. It is
// written down only when somebody wants to know what happened.
const (
	keepBytes = 4 << 20 // of packets and their heads: a minute of a scenario's talk, a second of a big file's
	snapBytes = 256     // of each packet: its headers, and DNS whole
	headBytes = 16 + 20 // pcap's record head and the cooked one
)

// linkLinuxSLL2 says that each packet begins with the cooked header below, which names the interface.
// https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html
const linkLinuxSLL2 = 276

const arphrdLoopback = 772

type capture struct {
	mu      sync.Mutex
	records [][]byte
	bytes   int
	lost    int
	err     error // why there is none
}

// startCapture needs CAP_NET_RAW; without, the capture says so when it is asked for.
func startCapture() *capture {
	c := &capture{}
	socket, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, int(bigEndian(syscall.ETH_P_ALL)))
	if err != nil {
		c.err = err
		return c
	}
	go c.read(socket)
	return c
}

func bigEndian(v uint16) uint16 {
	return v<<8 | v>>8
}

func (c *capture) read(socket int) {
	buf := make([]byte, 65536)
	for {
		n, from, err := syscall.Recvfrom(socket, buf, syscall.MSG_TRUNC)
		if errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.ENETDOWN) {
			continue
		}
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		if link, ok := from.(*syscall.SockaddrLinklayer); ok && link.Hatype != arphrdLoopback {
			c.keep(record(time.Now(), link, buf, n))
		}
	}
}

func record(at time.Time, link *syscall.SockaddrLinklayer, packet []byte, size int) []byte {
	kept := min(size, snapBytes, len(packet))
	r := make([]byte, headBytes, headBytes+kept)
	le, be := binary.LittleEndian, binary.BigEndian
	le.PutUint32(r[0:], uint32(at.Unix()))
	le.PutUint32(r[4:], uint32(at.Nanosecond()/1000))
	le.PutUint32(r[8:], uint32(kept+20))
	le.PutUint32(r[12:], uint32(size+20))
	be.PutUint16(r[16:], bigEndian(link.Protocol)) // as it came: network order
	be.PutUint32(r[20:], uint32(link.Ifindex))
	be.PutUint16(r[24:], link.Hatype)
	r[26], r[27] = link.Pkttype, min(link.Halen, 8)
	copy(r[28:36], link.Addr[:])
	return append(r, packet[:kept]...)
}

func (c *capture) keep(r []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records = append(c.records, r)
	c.bytes += len(r)
	for c.bytes > keepBytes {
		c.bytes -= len(c.records[0])
		c.records[0] = nil
		c.records = c.records[1:]
		c.lost++
	}
}

type captureRequest struct {
	Path string `json:"path"`
}

type captured struct {
	Packets int `json:"packets"`
	Lost    int `json:"lost"` // older ones, that no longer fitted
}

// write makes a pcap file of what is kept.
func (c *capture) write(r captureRequest) (any, error) {
	c.mu.Lock()
	records, lost, err := append([][]byte(nil), c.records...), c.lost, c.err
	c.mu.Unlock()
	if err != nil {
		return nil, errors.New("packets are not captured here: " + err.Error())
	}
	file, err := os.Create(r.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	head := make([]byte, 24)
	le := binary.LittleEndian
	le.PutUint32(head[0:], 0xa1b2c3d4)
	le.PutUint16(head[4:], 2)
	le.PutUint16(head[6:], 4)
	le.PutUint32(head[16:], snapBytes+20)
	le.PutUint32(head[20:], linkLinuxSLL2)
	out.Write(head)
	for _, each := range records {
		out.Write(each)
	}
	return captured{len(records), lost}, out.Flush()
}
