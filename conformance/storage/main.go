// Command storage asks an API server for one object of every kind that is kept in etcd, and looks at what is in
// etcd then. The objects are those of upstream's own test of its storage paths (test/integration/etcd/data.go).
//
// `storage -write FILE` creates them and writes what the server shows of each into FILE; `storage -check FILE`
// compares with what another server on the same etcd shows. One line is printed for each object that is not as it
// should be, and then a summary; the exit code is 1 when there was such a line.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"sort"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilversion "k8s.io/component-base/version"
	storagedata "k8s.io/kubernetes/test/integration/etcd"
)

const namespace = "etcdstoragepathtestnamespace"

// protobufPrefix is how stored protobuf starts.
var protobufPrefix = []byte("k8s\x00")

// Shown is what a server shows of one object, and what etcd holds of it.
type Shown struct {
	Path     string
	Key      string
	Revision int64
	Object   map[string]any
}

type client struct {
	server string
	http   http.Client
	etcd   *clientv3.Client
	// By group version: resource name to what discovery says.
	resources map[string]map[string]resource
}

type resource struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Namespaced bool   `json:"namespaced"`
}

func main() {
	server := flag.String("server", "", "URL of the API server")
	etcd := flag.String("etcd", "", "URL of etcd")
	ca := flag.String("ca", "", "file of the server's authority")
	cert := flag.String("cert", "", "file of the client's certificate")
	key := flag.String("key", "", "file of the client's key")
	write := flag.String("write", "", "create every object and write what is shown of them here")
	check := flag.String("check", "", "compare with what was written here")
	flag.Parse()
	c, err := connect(*server, *etcd, *ca, *cert, *key)
	if err == nil {
		if *write != "" {
			err = c.writeAll(*write)
		} else {
			err = c.checkAll(*check)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func connect(server, etcd, ca, cert, key string) (*client, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
	store, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd}, DialTimeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	c := &client{server: server, etcd: store, resources: map[string]map[string]resource{}}
	c.http = http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 30 * time.Second}
	return c, nil
}

// request returns the answer's object, or an error with the server's words.
func (c *client) request(method, path string, body any) (map[string]any, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(method, c.server+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, response.StatusCode, answer)
	}
	object := map[string]any{}
	return object, json.Unmarshal(answer, &object)
}

func base(version schema.GroupVersion) string {
	if version.Group == "" {
		return "/api/" + version.Version
	}
	return "/apis/" + version.String()
}

// find asks discovery; versions of custom resources appear some time after their definitions.
func (c *client) find(gvr schema.GroupVersionResource) (resource, error) {
	version := gvr.GroupVersion()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if found, ok := c.resources[version.String()][gvr.Resource]; ok {
			return found, nil
		}
		answer, err := c.request("GET", base(version), nil)
		if err == nil {
			var list struct{ Resources []resource }
			text, _ := json.Marshal(answer)
			if err := json.Unmarshal(text, &list); err != nil {
				return resource{}, err
			}
			named := map[string]resource{}
			for _, one := range list.Resources {
				named[one.Name] = one
			}
			c.resources[version.String()] = named
			if _, ok := named[gvr.Resource]; ok {
				continue
			}
			err = fmt.Errorf("%s is not served", gvr)
		}
		if time.Now().After(deadline) {
			return resource{}, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// create makes the object of a stub and returns its path.
func (c *client) create(gvr schema.GroupVersionResource, stub string) (string, schema.GroupVersionKind, error) {
	found, err := c.find(gvr)
	if err != nil {
		return "", schema.GroupVersionKind{}, err
	}
	kind := gvr.GroupVersion().WithKind(found.Kind)
	object := map[string]any{}
	if err := json.Unmarshal([]byte(stub), &object); err != nil {
		return "", kind, err
	}
	object["apiVersion"], object["kind"] = kind.GroupVersion().String(), kind.Kind
	path := base(gvr.GroupVersion())
	if found.Namespaced {
		path += "/namespaces/" + namespace
	}
	path += "/" + gvr.Resource
	made, err := c.request("POST", path, object)
	if err != nil {
		return "", kind, err
	}
	metadata, _ := made["metadata"].(map[string]any)
	return fmt.Sprintf("%s/%s", path, metadata["name"]), kind, nil
}

func (c *client) writeAll(file string) error {
	if _, err := c.request("POST", "/api/v1/namespaces", map[string]any{"metadata": map[string]any{"name": namespace}}); err != nil {
		return err
	}
	for _, definition := range storagedata.GetCustomResourceDefinitionData() {
		definition.APIVersion, definition.Kind = "apiextensions.k8s.io/v1", "CustomResourceDefinition"
		if _, err := c.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition); err != nil {
			return err
		}
	}
	rows := storagedata.GetEtcdStorageDataForNamespaceServedAt(namespace, utilversion.DefaultKubeBinaryVersion, false)
	var order []schema.GroupVersionResource
	for gvr := range rows {
		order = append(order, gvr)
	}
	sort.Slice(order, func(i, j int) bool { return order[i].String() < order[j].String() })
	var all []Shown
	failed := 0
	for _, gvr := range order {
		shown, err := c.writeOne(gvr, rows[gvr])
		if err != nil {
			failed++
			fmt.Printf("%s: %v\n", gvr, err)
			continue
		}
		all = append(all, shown)
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	return summary("written under upstream's keys", len(all), failed)
}

func (c *client) writeOne(gvr schema.GroupVersionResource, row storagedata.StorageData) (Shown, error) {
	for _, before := range row.Prerequisites {
		if _, _, err := c.create(before.GvrData, before.Stub); err != nil {
			return Shown{}, fmt.Errorf("before it: %w", err)
		}
	}
	shown := Shown{Key: row.ExpectedEtcdPath}
	wanted := schema.GroupVersionKind{}
	if row.Stub != "" {
		path, kind, err := c.create(gvr, row.Stub)
		if err != nil {
			return shown, err
		}
		shown.Path, wanted = path, kind
	}
	if row.ExpectedGVK != nil {
		wanted = *row.ExpectedGVK
	}
	stored, revision, err := c.stored(row.ExpectedEtcdPath)
	if err != nil {
		return shown, err
	}
	if !wanted.Empty() && stored != wanted {
		return shown, fmt.Errorf("stored as %s, not %s", stored, wanted)
	}
	shown.Revision = revision
	if shown.Path == "" {
		return shown, nil
	}
	shown.Object, err = c.request("GET", shown.Path, nil)
	return shown, err
}

// stored returns the kind of what etcd holds under a key, and the revision of its last change.
func (c *client) stored(key string) (schema.GroupVersionKind, int64, error) {
	answer, err := c.etcd.Get(context.Background(), key)
	if err != nil {
		return schema.GroupVersionKind{}, 0, err
	}
	if len(answer.Kvs) != 1 {
		return schema.GroupVersionKind{}, 0, fmt.Errorf("nothing is stored under %s", key)
	}
	value, revision := answer.Kvs[0].Value, answer.Kvs[0].ModRevision
	var meta runtime.TypeMeta
	if rest, ok := bytes.CutPrefix(value, protobufPrefix); ok {
		var unknown runtime.Unknown
		if err := unknown.Unmarshal(rest); err != nil {
			return schema.GroupVersionKind{}, 0, fmt.Errorf("%s: %w", key, err)
		}
		meta = unknown.TypeMeta
	} else if err := json.Unmarshal(value, &meta); err != nil {
		return schema.GroupVersionKind{}, 0, fmt.Errorf("%s: %w", key, err)
	}
	return schema.FromAPIVersionAndKind(meta.APIVersion, meta.Kind), revision, nil
}

func (c *client) checkAll(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var all []Shown
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	equal, failed := 0, 0
	for _, before := range all {
		if err := c.checkOne(before); err != nil {
			failed++
			fmt.Println(err)
			continue
		}
		equal++
	}
	return summary("shown as before", equal, failed)
}

func (c *client) checkOne(before Shown) error {
	if before.Path == "" {
		return nil
	}
	now, err := c.request("GET", before.Path, nil)
	if err != nil {
		return err
	}
	_, revision, err := c.stored(before.Key)
	if err != nil {
		return err
	}
	was := before.Object
	if revision != before.Revision {
		// The server has written a status of its own since.
		was, now = withoutStatus(was), withoutStatus(now)
	}
	if !reflect.DeepEqual(was, now) {
		old, _ := json.Marshal(was)
		new, _ := json.Marshal(now)
		return fmt.Errorf("%s was\n  %s\nand is\n  %s", before.Path, old, new)
	}
	return nil
}

func withoutStatus(object map[string]any) map[string]any {
	rest := map[string]any{}
	for name, value := range object {
		rest[name] = value
	}
	delete(rest, "status")
	if metadata, ok := rest["metadata"].(map[string]any); ok {
		kept := map[string]any{}
		for name, value := range metadata {
			kept[name] = value
		}
		delete(kept, "resourceVersion")
		delete(kept, "managedFields")
		rest["metadata"] = kept
	}
	return rest
}

func summary(what string, good, bad int) error {
	fmt.Printf("%d objects %s, %d not\n", good, what, bad)
	if bad > 0 {
		return fmt.Errorf("%d objects are not as they should be", bad)
	}
	return nil
}
