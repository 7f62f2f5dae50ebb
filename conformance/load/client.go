package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readyPoll      = 2 * time.Millisecond
	requestTimeout = 60 * time.Second
	// errorBody is how much of an unexpected answer is shown, in bytes.
	errorBody = 512
)

// load is a server and how to talk to it.
type load struct {
	server                    string
	caFile, certFile, keyFile string
	http1                     bool
	scale                     float64
	workers                   int
	tls                       *tls.Config
	clients                   []*http.Client
	// delivery is what the step under way measured of it.
	delivery time.Duration
}

func (l *load) loadFiles() error {
	ca, err := os.ReadFile(l.caFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return fmt.Errorf("%s holds no certificate", l.caFile)
	}
	pair, err := tls.LoadX509KeyPair(l.certFile, l.keyFile)
	if err != nil {
		return err
	}
	l.tls = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
	return nil
}

// client has one connection of its own. Compression is off: the cost of gzip is not what is compared.
func (l *load) client() *http.Client {
	transport := &http.Transport{
		TLSClientConfig:     l.tls.Clone(),
		DisableCompression:  true,
		ForceAttemptHTTP2:   !l.http1,
		MaxIdleConnsPerHost: 1,
		MaxConnsPerHost:     1,
	}
	if l.http1 {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	return &http.Client{Transport: transport}
}

// count is a number of operations at the chosen scale, at least one.
func (l *load) count(full int) int {
	return max(1, int(float64(full)*l.scale))
}

// waitReady prints the seconds from since until /readyz answers 200.
func (l *load) waitReady(limit time.Duration, since time.Time) error {
	client, deadline := l.client(), time.Now().Add(limit)
	client.Timeout = time.Second
	for {
		answer, err := client.Get(l.server + "/readyz")
		if err == nil {
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				fmt.Printf("%.4f\n", time.Since(since).Seconds())
				return nil
			}
			err = errors.New(answer.Status)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %s: %w", limit, err)
		}
		time.Sleep(readyPoll)
	}
}

// send makes one request, checks its status code and returns the size of the answer. A body is JSON.
func (l *load) send(client *http.Client, method, path, accept string, body []byte, want int) (int64, error) {
	return l.sendAs(client, method, path, accept, jsonType, body, want)
}

// sendAs is send with the media type of the body.
func (l *load) sendAs(
	client *http.Client, method, path, accept, contentType string, body []byte, want int,
) (int64, error) {
	request, err := http.NewRequest(method, l.server+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("User-Agent", "keelson-load")
	request.Header.Set("Accept", accept)
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, errorBody))
		return 0, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return io.Copy(io.Discard, answer.Body)
}

// connect gives every worker a client whose connection stands.
func (l *load) connect() error {
	for len(l.clients) < l.workers {
		client := l.client()
		client.Timeout = requestTimeout
		if _, err := l.send(client, "GET", "/version", jsonType, nil, http.StatusOK); err != nil {
			return err
		}
		l.clients = append(l.clients, client)
	}
	return nil
}

// each calls do for 0 to n-1, shared among the workers, and ends at the first error.
func (l *load) each(n int, do func(client *http.Client, i int) (int64, error)) (int64, int64, error) {
	var next, bytes atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	for _, client := range l.clients {
		group.Go(func() {
			for failed.Load() == nil {
				i := next.Add(1) - 1
				if i >= int64(n) {
					return
				}
				size, err := do(client, int(i))
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				bytes.Add(size)
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return 0, 0, *err
	}
	return int64(n), bytes.Load(), nil
}
