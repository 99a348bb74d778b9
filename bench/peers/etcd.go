//go:build linux

package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"foyer/internal/workbench"
)

func etcd() peer {
	return peer{
		name:    "etcd",
		program: "etcd",
		version: []string{"--version"},
		start:   startEtcd,
		works: []work{
			{table: lookups, name: "etcd, serializable get", run: etcdLoad("get")},
			{table: durable, name: "etcd, put if absent", run: etcdLoad("put")},
		},
	}
}

// startEtcd starts a cluster of one member.
func startEtcd(ctx context.Context, s *stage, r *rooms) (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	peers, err := freePort()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.dir, "etcd")
	if err := os.RemoveAll(data); err != nil {
		return nil, err
	}
	own, others := "http://127.0.0.1:"+port, "http://127.0.0.1:"+peers
	p, err := s.start(port, "etcd", "--name", "only", "--data-dir", data, "--log-level", "error",
		"--listen-client-urls", own, "--advertise-client-urls", own,
		"--listen-peer-urls", others, "--initial-advertise-peer-urls", others, "--initial-cluster", "only="+others,
		"--quota-backend-bytes", "8589934592")
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx, func(ctx context.Context) error {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", p.addr())
		if err == nil {
			err = c.Close()
		}
		return err
	}); err != nil {
		return p, err
	}
	_, err = etcdLoad("fill")(ctx, s, p, r)
	return p, err
}

// etcdLoad runs modules/etcdload with 16 connections, each shared by 16 who
// ask: HTTP/2 keeps their requests apart.
func etcdLoad(work string) runner {
	return func(ctx context.Context, s *stage, p *process, r *rooms) (*workbench.Result, error) {
		var result workbench.Result
		return &result, workbench.RunLoad(exec.CommandContext(ctx, "etcdload", "-endpoint", p.addr(), "-rooms", r.list,
			"-work", work, "-conns", "16", "-window", "16", "-duration", s.duration()), &result)
	}
}
