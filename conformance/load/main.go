// Command load sends one fixed load to an API server and prints, a JSON line a step, what it cost the
// server's processes, read from /proc. `cargo xtask bench` runs it against upstream's API server and
// Keelson's; the requests are the same to the byte.
//
// It is lean so that it is never the bottleneck: no client library, bodies are counted and dropped,
// and each worker has a connection of its own, as separate clients have.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// result is the outcome of one step.
type result struct {
	Step string `json:"step"`
	// Operations: requests answered, or watch events received.
	Operations int64   `json:"operations"`
	Bytes      int64   `json:"bytes"`
	Seconds    float64 `json:"seconds"`
	ServerCPU  float64 `json:"serverCPU"`
	ClientCPU  float64 `json:"clientCPU"`
	// MemoryBefore and MemoryPeak: resident memory of the server's processes, in KiB.
	MemoryBefore int64 `json:"memoryBefore"`
	MemoryPeak   int64 `json:"memoryPeak"`
	// Delivery is the 99th percentile, in milliseconds, of the time from the begin of a write to its event
	// at a watcher; zero where a step does not measure it.
	Delivery float64 `json:"delivery"`
}

// step is one part of the load. setup runs unmeasured and returns the measured part, which returns
// the operations and bytes it did.
type step struct {
	name  string
	setup func(*load) (func() (int64, int64, error), error)
}

var steps = []step{
	{"configmap create", (*load).configMapCreates},
	{"configmap update", (*load).configMapUpdates},
	{"configmap patch", (*load).configMapPatches},
	{"configmap apply", (*load).configMapApplies},
	{"pod create", (*load).podCreates},
	{"10 KB pod dry run", (*load).bigPods},
	{"get", (*load).gets},
	{"list json", listing("application/json", "")},
	{"list protobuf", listing("application/vnd.kubernetes.protobuf", "")},
	{"list by label json", listing("application/json", "?labelSelector=tier%3Dweb")},
	{"64 lists at once", (*load).listsAtOnce},
	{"watch fan-out", (*load).watches},
	{"watch delivery", (*load).deliveries},
	{"fill", (*load).fills},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run() error {
	var l load
	var pids, names string
	var since int64
	var ready time.Duration
	flag.StringVar(&l.server, "server", "", "base URL of the API server")
	flag.StringVar(&l.caFile, "ca", "", "file with the server's CA")
	flag.StringVar(&l.certFile, "cert", "", "file with the client's certificate")
	flag.StringVar(&l.keyFile, "key", "", "file with the client's key")
	flag.BoolVar(&l.http1, "http1", false, "use HTTP/1.1, not HTTP/2")
	flag.Float64Var(&l.scale, "scale", 1, "factor on every count")
	flag.IntVar(&l.workers, "workers", 8, "concurrent clients")
	flag.StringVar(&pids, "pids", "", "process ids of the server, separated by commas")
	flag.StringVar(&names, "steps", "", "names of steps, separated by commas (default: all)")
	flag.DurationVar(&ready, "wait-ready", 0, "only wait so long for /readyz, and print the seconds since -since")
	flag.Int64Var(&since, "since", 0, "Unix time in nanoseconds that -wait-ready counts from")
	flag.Parse()
	if err := l.loadFiles(); err != nil {
		return err
	}
	if ready > 0 {
		return l.waitReady(ready, time.Unix(0, since))
	}
	servers, err := parsePids(pids)
	if err != nil {
		return err
	}
	if err := l.prepare(); err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	for _, s := range steps {
		if names != "" && !contains(strings.Split(names, ","), s.name) {
			continue
		}
		if err := measure(&l, s, servers); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func measure(l *load, s step, servers []int) error {
	body, err := s.setup(l)
	if err != nil {
		return err
	}
	if err := resetPeaks(servers); err != nil {
		return err
	}
	l.delivery = 0
	memory := memoryKiB(servers, "VmRSS:")
	server, client, start := cpuSeconds(servers), cpuSeconds([]int{os.Getpid()}), time.Now()
	operations, bytes, err := body()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result{
		Step: s.name, Operations: operations, Bytes: bytes, Seconds: time.Since(start).Seconds(),
		ServerCPU: cpuSeconds(servers) - server, ClientCPU: cpuSeconds([]int{os.Getpid()}) - client,
		MemoryBefore: memory, MemoryPeak: memoryKiB(servers, "VmHWM:"),
		Delivery: float64(l.delivery.Microseconds()) / 1000,
	})
}

func parsePids(text string) ([]int, error) {
	var pids []int
	for _, word := range strings.Split(text, ",") {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("-pids: %w", err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// cpuSeconds is the processor time, user and system, that the processes have used; fields 14 and 15
// of /proc/PID/stat in ticks of 1/100 s (proc_pid_stat(5); USER_HZ is 100 on every Linux).
func cpuSeconds(pids []int) float64 {
	var ticks int64
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			fmt.Fprintln(os.Stderr, "load: the server has ended:", err)
			os.Exit(1)
		}
		// The command name, field 2, may hold spaces; it ends at the last parenthesis.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, field := range fields[11:13] {
			n, _ := strconv.ParseInt(field, 10, 64)
			ticks += n
		}
	}
	return float64(ticks) / 100
}

// resetPeaks makes VmHWM count from now on (proc_pid_clear_refs(5)).
func resetPeaks(pids []int) error {
	for _, pid := range pids {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return err
		}
	}
	return nil
}

// memoryKiB is the sum over the processes of a line of /proc/PID/status.
func memoryKiB(pids []int, line string) int64 {
	var sum int64
	for _, pid := range pids {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		fields := strings.Fields(string(status))
		for i, field := range fields {
			if field == line {
				n, _ := strconv.ParseInt(fields[i+1], 10, 64)
				sum += n
			}
		}
	}
	return sum
}

func contains(list []string, word string) bool {
	for _, item := range list {
		if item == word {
			return true
		}
	}
	return false
}
