// record writes down what upstream's encryption at rest answers; see ../README.md.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
)

type configuration struct {
	Text   string `json:"text"`
	Reload bool   `json:"reload,omitempty"`
	Error  string `json:"error,omitempty"`
}

type transformed struct {
	Writer   string `json:"writer"`
	Reader   string `json:"reader"`
	Resource string `json:"resource"`
	Key      string `json:"key"`
	ReadKey  string `json:"readKey,omitempty"`
	Plain    []byte `json:"plain"`
	Stored   []byte `json:"stored"`
	Error    string `json:"error,omitempty"`
	Stale    bool   `json:"stale,omitempty"`
}

type recorded struct {
	Configurations []configuration `json:"configurations"`
	Values         []transformed   `json:"values"`
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

var dir string

// Every text says where sockets are by SOCKETS.
func load(text string, reload bool) (encryptionconfig.StaticTransformers, error) {
	path := filepath.Join(dir, "config.yaml")
	must(os.WriteFile(path, []byte(strings.ReplaceAll(text, "SOCKETS", dir)), 0o600))
	loaded, err := encryptionconfig.LoadEncryptionConfig(context.Background(), path, reload, "apiserver-x")
	if err != nil {
		return nil, err
	}
	return loaded.Transformers, nil
}

func shown(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), dir, "SOCKETS")
}

func transformer(text, resource string) value.Transformer {
	transformers, err := load(text, false)
	must(err)
	return transformers.TransformerForResource(schema.ParseGroupResource(resource))
}

func (v *transformed) write() {
	out, err := transformer(v.Writer, v.Resource).TransformToStorage(context.Background(), v.Plain, value.DefaultContext(v.Key))
	must(err)
	v.Stored = out
}

func (v *transformed) read() []byte {
	key := v.Key
	if v.ReadKey != "" {
		key = v.ReadKey
	}
	out, stale, err := transformer(v.Reader, v.Resource).TransformFromStorage(context.Background(), v.Stored, value.DefaultContext(key))
	v.Error, v.Stale = shown(err), stale
	return out
}

func record() {
	var all recorded
	for _, c := range configurations() {
		_, err := load(c.Text, c.Reload)
		c.Error = shown(err)
		all.Configurations = append(all.Configurations, c)
	}
	for _, v := range values() {
		v.write()
		if out := v.read(); v.Error == "" && string(out) != string(v.Plain) {
			panic("read something else")
		}
		all.Values = append(all.Values, v)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	must(encoder.Encode(all))
}

// check reads what others have stored and compares the outcome with what is said of it.
func check() {
	var all recorded
	must(json.NewDecoder(os.Stdin).Decode(&all))
	for i, v := range all.Values {
		found := v
		out := found.read()
		if found.Error != v.Error || found.Stale != v.Stale || (v.Error == "" && string(out) != string(v.Plain)) {
			panic(fmt.Sprintf("value %d: %q, %q, stale %v", i, out, found.Error, found.Stale))
		}
	}
	fmt.Printf("%d values are read as they were recorded\n", len(all.Values))
}

func main() {
	var err error
	dir, err = os.MkdirTemp("", "record")
	must(err)
	defer os.RemoveAll(dir)
	for _, key := range []string{"one", "two", "lost"} {
		serve(filepath.Join(dir, key+".sock"), key)
	}
	if len(os.Args) > 1 && os.Args[1] == "check" {
		check()
		return
	}
	record()
}
