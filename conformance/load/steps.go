package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	jsonType  = "application/json"
	namespace = "/api/v1/namespaces/bench"

	configMaps = 4000
	pods       = 10000
	bigPods    = 4000
	gets       = 20000
	lists      = 20
	manyLists  = 64
	watchers   = 1000
	writes     = 500
	objects    = 100000
	// writeEvery is the pace of writes whose delivery is timed: the load generator has time to read.
	writeEvery = 50 * time.Millisecond
	timed      = 200
	// fanOutTimeout bounds the wait for the last event.
	fanOutTimeout = 2 * time.Minute
	// sentLabel holds the time at which an object was sent, in nanoseconds.
	sentLabel = "sent"
)

type object = map[string]any

// encoded is the JSON of an object; the keys of a map are sorted, so the bytes are always the same.
func encoded(o object) []byte {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err) // an object of this file is always JSON
	}
	return data
}

// prepare makes the namespace and, because no controller-manager runs, its default service account,
// without which no pod is admitted.
func (l *load) prepare() error {
	if err := l.connect(); err != nil {
		return err
	}
	for _, made := range []struct {
		path, kind, name string
	}{{"/api/v1/namespaces", "Namespace", "bench"}, {namespace + "/serviceaccounts", "ServiceAccount", "default"}} {
		body := encoded(object{"apiVersion": "v1", "kind": made.kind, "metadata": object{"name": made.name}})
		if _, err := l.send(l.clients[0], "POST", made.path, jsonType, body, http.StatusCreated); err != nil {
			return err
		}
	}
	return nil
}

func configMap(prefix string, i int) []byte {
	return encoded(object{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": object{"name": fmt.Sprintf("%s-%06d", prefix, i), "labels": object{"app": "bench"}},
		"data":     object{"key": strings.Repeat("value ", 100)},
	})
}

func (l *load) configMapCreates() (func() (int64, int64, error), error) {
	return l.creates(namespace+"/configmaps", l.count(configMaps), func(i int) []byte { return configMap("bench", i) })
}

// changes sends one change of every ConfigMap that was created.
func (l *load) changes(
	method, query, contentType string, body func(i int) []byte,
) (func() (int64, int64, error), error) {
	n := l.count(configMaps)
	bodies := make([][]byte, n)
	for i := range bodies {
		bodies[i] = body(i)
	}
	return func() (int64, int64, error) {
		return l.each(n, func(client *http.Client, i int) (int64, error) {
			path := fmt.Sprintf("%s/configmaps/bench-%06d%s", namespace, i, query)
			return l.sendAs(client, method, path, jsonType, contentType, bodies[i], http.StatusOK)
		})
	}, nil
}

func (l *load) configMapUpdates() (func() (int64, int64, error), error) {
	return l.changes("PUT", "", jsonType, func(i int) []byte {
		return bytes.Replace(configMap("bench", i), []byte("value "), []byte("other "), 1)
	})
}

func (l *load) configMapPatches() (func() (int64, int64, error), error) {
	return l.changes("PATCH", "", "application/merge-patch+json", func(i int) []byte {
		return encoded(object{"data": object{"patched": fmt.Sprint(i)}})
	})
}

func (l *load) configMapApplies() (func() (int64, int64, error), error) {
	return l.changes("PATCH", "?fieldManager=bench", "application/apply-patch+yaml", func(i int) []byte {
		return encoded(object{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": object{"name": fmt.Sprintf("bench-%06d", i)},
			"data":     object{"applied": fmt.Sprint(i)},
		})
	})
}

func (l *load) podCreates() (func() (int64, int64, error), error) {
	return l.creates(namespace+"/pods", l.count(pods), pod)
}

// creates makes the bodies before the measured part.
func (l *load) creates(path string, n int, body func(int) []byte) (func() (int64, int64, error), error) {
	bodies := make([][]byte, n)
	for i := range bodies {
		bodies[i] = body(i)
	}
	return func() (int64, int64, error) {
		return l.each(n, func(client *http.Client, i int) (int64, error) {
			return l.send(client, "POST", path, jsonType, bodies[i], http.StatusCreated)
		})
	}, nil
}

// pod is of the size of a usual Deployment's pod. Nothing schedules it.
func pod(i int) []byte {
	probe := object{"httpGet": object{"path": "/healthz", "port": 8080}, "periodSeconds": 10}
	return encoded(object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{
			"name":        fmt.Sprintf("bench-%06d", i),
			"labels":      object{"app": "bench", "pod-template-hash": "5d59d67564", "tier": "web"},
			"annotations": object{"example.com/checksum": strings.Repeat("0123456789abcdef", 4)},
		},
		"spec": object{
			"containers": []object{{
				"name": "web", "image": "web:1", "args": []string{"--port=8080", "--verbose"},
				"env":            []object{{"name": "MODE", "value": "production"}, {"name": "REGION", "value": "north"}},
				"ports":          []object{{"name": "http", "containerPort": 8080}},
				"resources":      object{"requests": object{"cpu": "100m", "memory": "128Mi"}, "limits": object{"memory": "256Mi"}},
				"livenessProbe":  probe,
				"readinessProbe": probe,
				"volumeMounts":   []object{{"name": "scratch", "mountPath": "/scratch"}},
			}},
			"volumes": []object{{"name": "scratch", "emptyDir": object{}}},
		},
	})
}

// bigPod has a body of about 10 KB.
func bigPod(i int) []byte {
	container := func(n int) object {
		var env []object
		for v := range 12 {
			env = append(env, object{"name": fmt.Sprintf("VARIABLE_%d", v), "value": strings.Repeat("x", 40)})
		}
		probe := object{"httpGet": object{"path": "/healthz", "port": "http"}, "periodSeconds": 10}
		return object{
			"name": fmt.Sprintf("container-%d", n), "image": "web:1", "args": []string{"--port=8080", "--verbose"},
			"env":            env,
			"ports":          []object{{"name": "http", "containerPort": 8080 + n}},
			"resources":      object{"requests": object{"cpu": "100m", "memory": "128Mi"}},
			"livenessProbe":  probe,
			"readinessProbe": probe,
			"volumeMounts":   []object{{"name": "scratch", "mountPath": "/scratch"}},
		}
	}
	var containers []object
	for n := range 8 {
		containers = append(containers, container(n))
	}
	return encoded(object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{"name": fmt.Sprintf("big-%06d", i), "labels": object{"app": "bench"}},
		"spec": object{
			"containers": containers,
			"volumes":    []object{{"name": "scratch", "emptyDir": object{}}},
		},
	})
}

// bigPods are decoded, defaulted, admitted, validated and encoded, and not stored.
func (l *load) bigPods() (func() (int64, int64, error), error) {
	return l.creates(namespace+"/pods?dryRun=All", l.count(bigPods), bigPod)
}

// fills creates ConfigMaps until the store holds objects of them and of pods.
func (l *load) fills() (func() (int64, int64, error), error) {
	there := l.count(configMaps) + l.count(pods) + l.count(writes) + l.count(timed)
	fill := func(i int) []byte { return configMap("fill", i) }
	return l.creates(namespace+"/configmaps", max(1, l.count(objects)-there), fill)
}

func (l *load) gets() (func() (int64, int64, error), error) {
	made := l.count(configMaps)
	return func() (int64, int64, error) {
		return l.each(l.count(gets), func(client *http.Client, i int) (int64, error) {
			path := fmt.Sprintf("%s/configmaps/bench-%06d", namespace, i%made)
			return l.send(client, "GET", path, jsonType, nil, http.StatusOK)
		})
	}, nil
}

// listing reads all pods, one list after the other.
func listing(accept, query string) func(*load) (func() (int64, int64, error), error) {
	return func(l *load) (func() (int64, int64, error), error) {
		return func() (int64, int64, error) {
			var total int64
			n := l.count(lists)
			for range n {
				size, err := l.send(l.clients[0], "GET", namespace+"/pods"+query, accept, nil, http.StatusOK)
				if err != nil {
					return 0, 0, err
				}
				total += size
			}
			return int64(n), total, nil
		}, nil
	}
}

// listsAtOnce reads all pods as JSON on many connections at the same time.
func (l *load) listsAtOnce() (func() (int64, int64, error), error) {
	many := *l
	many.workers, many.clients = l.count(manyLists), nil
	if err := many.connect(); err != nil {
		return nil, err
	}
	return func() (int64, int64, error) {
		return many.each(many.workers, func(client *http.Client, _ int) (int64, error) {
			return l.send(client, "GET", namespace+"/pods", jsonType, nil, http.StatusOK)
		})
	}, nil
}

// fanOut is what the watchers of one step have seen.
type fanOut struct {
	events, size atomic.Int64
	streams      []io.Closer
	all          chan struct{}
	broken       chan error
}

// watch opens watches of the namespace's ConfigMaps that go on until want events came in, all together; seen hears of
// the lines and bytes of each read.
func (l *load) watch(n int, want int64, seen func(read []byte)) (*fanOut, error) {
	version, err := l.listVersion(namespace + "/configmaps?limit=1")
	if err != nil {
		return nil, err
	}
	out := &fanOut{all: make(chan struct{}), broken: make(chan error, n)}
	var once sync.Once
	for range n {
		stream, err := l.openWatch(namespace + "/configmaps?watch=true&resourceVersion=" + version)
		if err != nil {
			return nil, err
		}
		out.streams = append(out.streams, stream)
		go func() {
			out.broken <- reads(stream, func(read []byte) {
				seen(read)
				out.size.Add(int64(len(read)))
				if out.events.Add(int64(bytes.Count(read, []byte{'\n'}))) >= want {
					once.Do(func() { close(out.all) })
				}
			})
		}()
	}
	return out, nil
}

// wait returns the events and bytes once all are there, and ends the watches.
func (o *fanOut) wait(want int64) (int64, int64, error) {
	defer func() {
		for _, stream := range o.streams {
			stream.Close()
		}
	}()
	select {
	case <-o.all:
		return o.events.Load(), o.size.Load(), nil
	case err := <-o.broken:
		return 0, 0, fmt.Errorf("a watch ended: %w", err)
	case <-time.After(fanOutTimeout):
		return 0, 0, fmt.Errorf("%d of %d events after %s", o.events.Load(), want, fanOutTimeout)
	}
}

// watches opens the watches unmeasured, then writes and waits until every watcher has every event.
func (l *load) watches() (func() (int64, int64, error), error) {
	n, written := l.count(watchers), l.count(writes)
	want := int64(n * written)
	out, err := l.watch(n, want, func([]byte) {})
	if err != nil {
		return nil, err
	}
	write, err := l.creates(namespace+"/configmaps", written, func(i int) []byte { return configMap("watched", i) })
	if err != nil {
		return nil, err
	}
	return func() (int64, int64, error) {
		if _, _, err := write(); err != nil {
			return 0, 0, err
		}
		return out.wait(want)
	}, nil
}

// deliveries writes at a steady pace and times how long each event takes to each watcher.
func (l *load) deliveries() (func() (int64, int64, error), error) {
	n, written := l.count(watchers), l.count(timed)
	want := int64(n * written)
	var lock sync.Mutex
	var took []time.Duration
	out, err := l.watch(n, want, func(read []byte) {
		now := time.Now()
		for _, line := range bytes.SplitAfter(read, []byte{'\n'}) {
			_, stamp, _ := bytes.Cut(line, []byte(sentLabel+`":"`))
			digits, _, found := bytes.Cut(stamp, []byte{'"'})
			if sent, err := strconv.ParseInt(string(digits), 10, 64); found && err == nil {
				lock.Lock()
				took = append(took, now.Sub(time.Unix(0, sent)))
				lock.Unlock()
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return func() (int64, int64, error) {
		pace := time.NewTicker(writeEvery)
		defer pace.Stop()
		for i := range written {
			<-pace.C
			body := encoded(object{
				"apiVersion": "v1", "kind": "ConfigMap",
				"metadata": object{
					"name":   fmt.Sprintf("timed-%06d", i),
					"labels": object{sentLabel: strconv.FormatInt(time.Now().UnixNano(), 10)},
				},
			})
			path := namespace + "/configmaps"
			if _, err := l.send(l.clients[0], "POST", path, jsonType, body, http.StatusCreated); err != nil {
				return 0, 0, err
			}
		}
		events, size, err := out.wait(want)
		if err != nil {
			return 0, 0, err
		}
		lock.Lock()
		defer lock.Unlock()
		slices.Sort(took)
		// An event that two reads shared is not among them; they are few.
		l.delivery = took[len(took)*99/100]
		return events, size, nil
	}, nil
}

func (l *load) listVersion(path string) (string, error) {
	answer, err := l.clients[0].Get(l.server + path)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	err = json.NewDecoder(answer.Body).Decode(&list)
	return list.Metadata.ResourceVersion, err
}

// openWatch opens a watch on a connection of its own, as an informer of another process has.
func (l *load) openWatch(path string) (io.ReadCloser, error) {
	answer, err := l.client().Get(l.server + path)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("watch: %s", answer.Status)
	}
	return answer.Body, nil
}

// reads hands on what is read; each event of a JSON watch is a line.
func reads(stream io.Reader, seen func(read []byte)) error {
	buffer := make([]byte, 64<<10)
	for {
		n, err := stream.Read(buffer)
		seen(buffer[:n])
		if err != nil {
			return err
		}
	}
}
