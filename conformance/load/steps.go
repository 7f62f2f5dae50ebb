package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	jsonType  = "application/json"
	namespace = "/api/v1/namespaces/bench"

	configMaps = 4000
	pods       = 5000
	gets       = 20000
	lists      = 20
	watchers   = 200
	writes     = 500
	// fanOutTimeout bounds the wait for the last event.
	fanOutTimeout = 2 * time.Minute
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

func (l *load) gets() (func() (int64, int64, error), error) {
	made := l.count(configMaps)
	return func() (int64, int64, error) {
		return l.each(l.count(gets), func(client *http.Client, i int) (int64, error) {
			path := fmt.Sprintf("%s/configmaps/bench-%06d", namespace, i%made)
			return l.send(client, "GET", path, jsonType, nil, http.StatusOK)
		})
	}, nil
}

// lists reads all pods, one list after the other.
func (l *load) lists(accept string) (func() (int64, int64, error), error) {
	return func() (int64, int64, error) {
		var total int64
		n := l.count(lists)
		for range n {
			size, err := l.send(l.clients[0], "GET", namespace+"/pods", accept, nil, http.StatusOK)
			if err != nil {
				return 0, 0, err
			}
			total += size
		}
		return int64(n), total, nil
	}, nil
}

// watches opens the watches unmeasured, then writes and waits until every watcher has every event.
func (l *load) watches() (func() (int64, int64, error), error) {
	n, written := l.count(watchers), l.count(writes)
	version, err := l.listVersion(namespace + "/configmaps?limit=1")
	if err != nil {
		return nil, err
	}
	var events, size atomic.Int64
	all, broken := make(chan struct{}), make(chan error, n)
	var once sync.Once
	for range n {
		stream, err := l.openWatch(namespace + "/configmaps?watch=true&resourceVersion=" + version)
		if err != nil {
			return nil, err
		}
		go func() {
			broken <- countLines(stream, func(lines, bytes int) {
				size.Add(int64(bytes))
				if events.Add(int64(lines)) >= int64(n*written) {
					once.Do(func() { close(all) })
				}
			})
		}()
	}
	write, err := l.creates(namespace+"/configmaps", written, func(i int) []byte { return configMap("watched", i) })
	if err != nil {
		return nil, err
	}
	return func() (int64, int64, error) {
		if _, _, err := write(); err != nil {
			return 0, 0, err
		}
		select {
		case <-all:
			return events.Load(), size.Load(), nil
		case err := <-broken:
			return 0, 0, fmt.Errorf("a watch ended: %w", err)
		case <-time.After(fanOutTimeout):
			return 0, 0, fmt.Errorf("%d of %d events after %s", events.Load(), n*written, fanOutTimeout)
		}
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

// countLines reports the line ends it reads: each event of a JSON watch is a line.
func countLines(stream io.Reader, count func(lines, bytes int)) error {
	buffer := make([]byte, 64<<10)
	for {
		n, err := stream.Read(buffer)
		count(bytes.Count(buffer[:n], []byte{'\n'}), n)
		if err != nil {
			return err
		}
	}
}
