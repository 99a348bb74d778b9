package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// An Address says where a world is kept:
//
//	etcd://HOST:PORT[,HOST:PORT…][/PREFIX][?OPTION=VALUE[&OPTION=VALUE…]]
//
// The options are cacert, cert and key, files of certificates in PEM, of which any makes
// the connections TLS; user and password-file; and compact=off, which leaves it to others to
// compact the cluster's history.
type Address struct {
	Endpoints []string // host:port
	Prefix    string   // of all keys, "/foyer/" unless it says otherwise; ends with a slash

	CACert, Cert, Key  string // files
	User, PasswordFile string
	NoCompaction       bool
}

const scheme = "etcd://"

// IsAddress reports whether s is meant to be an Address.
func IsAddress(s string) bool { return strings.HasPrefix(s, scheme) }

// ParseAddress parses an Address.
func ParseAddress(s string) (*Address, error) {
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return nil, errors.New("an address of etcd begins with etcd://")
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, prefix, _ := strings.Cut(rest, "/")
	a := &Address{Prefix: "/foyer/"}
	for e := range strings.SplitSeq(hosts, ",") {
		host, port, err := net.SplitHostPort(e)
		if err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("%q is not of the form host:port", e)
		}
		a.Endpoints = append(a.Endpoints, e)
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		a.Prefix = "/" + prefix + "/"
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	for name, values := range options {
		value := values[len(values)-1]
		switch name {
		case "cacert":
			a.CACert = value
		case "cert":
			a.Cert = value
		case "key":
			a.Key = value
		case "user":
			a.User = value
		case "password-file":
			a.PasswordFile = value
		case "compact":
			if value != "off" && value != "on" {
				return nil, errors.New("compact is on or off")
			}
			a.NoCompaction = value == "off"
		default:
			return nil, fmt.Errorf("there is no option %q: they are cacert, cert, key, user, password-file and compact", name)
		}
	}
	switch {
	case (a.Cert == "") != (a.Key == ""):
		return nil, errors.New("cert and key go together")
	case (a.User == "") != (a.PasswordFile == ""):
		return nil, errors.New("user and password-file go together")
	}
	return a, nil
}

// String returns the address without its options.
func (a *Address) String() string {
	return scheme + strings.Join(a.Endpoints, ",") + strings.TrimSuffix(a.Prefix, "/")
}

// How long to wait for a connection's signs of life, so that one to a machine that is gone
// is given up while clients still wait.
const keepAliveTime, keepAliveTimeout = 2 * time.Second, 2 * time.Second

func (a *Address) connect() (*clientv3.Client, error) {
	c := clientv3.Config{
		DialTimeout:          requestTime,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		MaxUnaryRetries:      1,
		Logger:               zap.NewNop(), // what fails is told by errors
	}
	how := "http://"
	if a.CACert != "" || a.Cert != "" {
		how = "https://"
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if a.CACert != "" {
			pem, err := os.ReadFile(a.CACert)
			if err != nil {
				return nil, err
			}
			c.TLS.RootCAs = x509.NewCertPool()
			if !c.TLS.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s: no certificate", a.CACert)
			}
		}
		if a.Cert != "" {
			pair, err := tls.LoadX509KeyPair(a.Cert, a.Key)
			if err != nil {
				return nil, err
			}
			c.TLS.Certificates = []tls.Certificate{pair}
		}
	}
	if a.User != "" {
		password, err := os.ReadFile(a.PasswordFile)
		if err != nil {
			return nil, err
		}
		c.Username, c.Password = a.User, strings.TrimRight(string(password), "\r\n")
	}
	for _, e := range a.Endpoints {
		c.Endpoints = append(c.Endpoints, how+e)
	}
	return clientv3.New(c)
}
