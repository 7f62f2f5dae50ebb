// Record asks upstream's kube-apiserver what requests.txt says and prints what it tells of it.
//
//	go run . -bin ../../../../../conformance/bin > ../events.txt
package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const tokens = "t-admin,admin,1,\"system:masters\"\nt-alice,alice,2\nt-bob,bob,3\n"

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func freePort() string {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	defer listener.Close()
	return must2(net.SplitHostPort(listener.Addr().String()))
}

func must2(_, port string, err error) string { return must(port, err) }

func start(dir, program string, arguments ...string) *exec.Cmd {
	command := exec.Command(program, arguments...)
	log := must(os.Create(filepath.Join(dir, filepath.Base(program)+".log")))
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		panic(err)
	}
	return command
}

func serviceAccountKey(dir string) string {
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	path := filepath.Join(dir, "sa.key")
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		panic(err)
	}
	return path
}

var client = &http.Client{Transport: &http.Transport{
	TLSClientConfig:    &tls.Config{InsecureSkipVerify: true},
	DisableCompression: true,
}}

// ask sends what a block says and reads the answer to its end.
func ask(server, block string) {
	head, body, _ := strings.Cut(block, "\n\n")
	lines := strings.Split(head, "\n")
	words := strings.SplitN(lines[0], " ", 3)
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(strings.TrimRight(body, "\n"))
	}
	request := must(http.NewRequest(words[1], server, reader))
	// As it is written, not as Go would escape it.
	path, query, _ := strings.Cut(words[2], "?")
	request.URL.Path, request.URL.RawQuery = path, query
	request.Header.Set("Authorization", "Bearer t-"+words[0])
	request.Header.Set("User-Agent", "recorder")
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response := must(client.Do(request))
	must(io.Copy(io.Discard, response.Body))
	response.Body.Close()
}

var rules = []struct{ pattern, by string }{
	{`"(auditID|uid)":"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"`, `"$1":"ID"`},
	{`"(requestReceivedTimestamp|stageTimestamp|creationTimestamp|time)":"[^"]*"`, `"$1":"TIME"`},
	{`"resourceVersion":"[0-9]+"`, `"resourceVersion":"N"`},
	{`"[0-9]+s"`, `"AGE"`},
	{`"s-[a-z0-9]{5}"`, `"s-RANDOM"`},
}

func normal(line string) string {
	for _, rule := range rules {
		line = regexp.MustCompile(rule.pattern).ReplaceAllString(line, rule.by)
	}
	return line
}

func main() {
	bin := flag.String("bin", "", "where etcd and kube-apiserver are")
	flag.Parse()
	dir := must(os.MkdirTemp("", "record"))
	defer os.RemoveAll(dir)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			panic(err)
		}
		return path
	}
	etcd, peer, port := "http://127.0.0.1:"+freePort(), "http://127.0.0.1:"+freePort(), freePort()
	store := start(dir, filepath.Join(*bin, "etcd"), "--data-dir", filepath.Join(dir, "etcd"),
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	defer store.Process.Kill()
	key, log := serviceAccountKey(dir), filepath.Join(dir, "audit.log")
	apiserver := start(dir, filepath.Join(*bin, "kube-apiserver"), "--etcd-servers="+etcd, "--secure-port="+port,
		"--bind-address=127.0.0.1", "--cert-dir="+filepath.Join(dir, "certs"), "--token-auth-file="+file("tokens", tokens),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+key,
		"--service-account-signing-key-file="+key, "--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.0.0.0/24", "--audit-policy-file=../policy.yaml", "--audit-log-path="+log)
	defer apiserver.Process.Kill()
	server := "https://127.0.0.1:" + port
	for ready := false; !ready; time.Sleep(time.Second) {
		if response, err := client.Get(server + "/readyz"); err == nil {
			response.Body.Close()
			ready = response.StatusCode == http.StatusOK
		}
	}
	read := len(must(os.ReadFile(log)))
	requests := strings.TrimRight(string(must(os.ReadFile("../requests.txt"))), "\n")
	for block := range strings.SplitSeq(requests, "\n===\n") {
		ask(server, block)
		// The end of a watch is told after the client has it.
		time.Sleep(200 * time.Millisecond)
		text := must(os.ReadFile(log))
		fmt.Println("# " + strings.SplitN(block, "\n", 2)[0])
		for line := range bytes.Lines(text[read:]) {
			// What others ask meanwhile is not of interest.
			if bytes.Contains(line, []byte(`"userAgent":"recorder"`)) {
				fmt.Print(normal(string(line)))
			}
		}
		read = len(text)
	}
}
