package main

import (
	"encoding/base64"
	"fmt"
	"strings"
)

func secret(fill byte, bytes int) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(fill)), bytes)))
}

func key(name string, fill byte, bytes int) string {
	return fmt.Sprintf("{name: %s, secret: %s}", name, secret(fill, bytes))
}

func keys(provider string, keys ...string) string {
	return fmt.Sprintf("{%s: {keys: [%s]}}", provider, strings.Join(keys, ", "))
}

func kms(name, socket string) string {
	return fmt.Sprintf("{kms: {apiVersion: v2, name: %s, endpoint: 'unix://SOCKETS/%s.sock'}}", name, socket)
}

func rule(resources string, providers ...string) string {
	return fmt.Sprintf("- resources: [%s]\n  providers: [%s]\n", resources, strings.Join(providers, ", "))
}

func config(rules ...string) string {
	head := "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n"
	return head + strings.Join(rules, "")
}

const identity = "{identity: {}}"

func configurations() []configuration {
	good := keys("aescbc", key("a", 'a', 32))
	withKMS := func(fields string) string { return config(rule("secrets", "{kms: {"+fields+"}}")) }
	texts := []string{
		"",
		"hello",
		"[]",
		"{",
		"kind: EncryptionConfiguration",
		"apiVersion: apiserver.config.k8s.io/v1",
		"kind: EncryptionConfiguration\napiVersion: v1",
		"kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1beta1\nresources: []",
		"kind: Pod\napiVersion: v1",
		"kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1",
		"kind: EncryptionConfig\napiVersion: v1\nresources:\n" + rule("secrets", good),
		`{"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[{"resources":["secrets"],"providers":[{"identity":{}}]}]}`,
		`{"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[{"resources":["secrets"],"resources":["pods"],"providers":[{"identity":{"a":1}}],"more":2}]}`,
		config(rule("secrets", identity)) + "more: 1\n",
		config(rule("secrets", identity)) + "kind: EncryptionConfiguration\n",
		config("- resources: secrets\n  providers: []\n"),
		config("- resources: [1]\n  providers: [{identity: {}}]\n"),
		config("- providers: [{identity: {}}]\n"),
		config("- resources: [secrets]\n"),
		config(rule("secrets", "{}")),
		config(rule("secrets", "{identity: null}")),
		config(rule("secrets", "{identity: {}, secretbox: {keys: ["+key("<a>", 'a', 32)+"]}}")),
		config(rule("secrets", "{aesgcm: {keys: []}, kms: {apiVersion: v2, name: x, endpoint: 'unix:///x'}}")),
		config(rule("secrets", keys("aesgcm"))),
		config(rule("secrets", "{aescbc: {}}")),
		config(rule("secrets", keys("aesgcm", "{name: a}", "{secret: "+secret('a', 16)+"}", "{name: b, secret: '***'}", "{name: c, secret: YQ==}"))),
		config(rule("secrets", keys("secretbox", key("a", 'a', 16), "{name: b, secret: YR==}"))),
		config(rule("secrets", keys("aescbc", key("a", 'a', 24), key("b", 'b', 16), key("c", 'c', 33)))),
		config(rule("secrets, secrets", good)),
		config(rule("secrets, '*.'", good)),
		config(rule("'*.*', '*.*'", good)),
		config(rule("'*.*', pods", good)),
		config(rule("'*.apps', deployments.apps, secrets", good)),
		config(rule("Secrets, '*', apiserveripinfo, serviceipallocations, servicenodeportallocations, events.events.k8s.io, '*.events.k8s.io', deployments.extensions, 'secrets.*'", good)),
		config(rule("'*.apps'", good), rule("deployments.apps", good)),
		config(rule("'*.*'", good), rule("secrets", good)),
		config(rule("'*.'", good), rule("secrets", good)),
		config(rule("'*.'", good), rule("'*.'", good)),
		config(rule("secrets", good), rule("'*.'", good), rule("'*.*'", good)),
		config(rule("secrets", good), rule("secrets", identity)),
		withKMS(""),
		withKMS("apiVersion: v2"),
		withKMS("apiVersion: v3, name: a, endpoint: 'unix:///x', timeout: 0s"),
		withKMS("apiVersion: v2, name: 'a:b', endpoint: 'tcp://x', cachesize: 3, timeout: -1s"),
		withKMS("apiVersion: v1, name: 'a:b', endpoint: ':::', cachesize: 0"),
		withKMS("apiVersion: v2, name: a, endpoint: 'unix:///x', timeout: soon"),
		withKMS("name: a, endpoint: 'unix:///x'"),
		config(rule("secrets", kms("one", "one")), rule("pods", kms("one", "one"))),
	}
	var all []configuration
	for _, text := range texts {
		all = append(all, configuration{Text: text})
	}
	twice := config(rule("secrets", "{kms: {name: a, endpoint: 'unix:///x'}}"), rule("pods", "{kms: {name: a, endpoint: 'unix:///x'}}"))
	return append(all, configuration{Text: twice}, configuration{Text: twice, Reload: true})
}

func values() []transformed {
	var all []transformed
	add := func(writer, reader, resource, readKey string, plain string) {
		key := "/registry/" + resource + "/default/x"
		all = append(all, transformed{Writer: writer, Reader: reader, Resource: resource, Key: key, ReadKey: readKey, Plain: []byte(plain)})
	}
	of := func(providers ...string) string { return config(rule("secrets", providers...)) }
	one, two := key("one", 'a', 32), key("two", 'b', 32)
	for _, provider := range []string{"aescbc", "aesgcm", "secretbox"} {
		first, second := of(keys(provider, one)), of(keys(provider, two))
		for _, plain := range []string{"", "x", "0123456789abcdef", strings.Repeat("long ", 500)} {
			add(first, first, "secrets", "", plain)
		}
		// Moved, rotated, migrated, lost.
		add(first, first, "secrets", "/registry/secrets/default/y", "moved")
		add(first, of(keys(provider, two, one)), "secrets", "", "rotated")
		add(first, of(keys(provider, two), keys(provider, one)), "secrets", "", "rotated in two providers")
		add(first, of(identity, keys(provider, one)), "secrets", "", "away")
		add(of(identity), of(keys(provider, one), identity), "secrets", "", "towards")
		add(of(identity), first, "secrets", "", "plain, and nobody to read it")
		add(first, second, "secrets", "", "lost")
		add(first, of(identity), "secrets", "", "nobody to read it")
		add(first, of(keys(provider, key("one", 'z', 32))), "secrets", "", "another key of that name")
		add(first, of(keys(provider, key("one", 'z', 32)), keys(provider, key("one", 'y', 32))), "secrets", "", "two other keys of that name")
		add(first, of(keys(provider, key("one", 'z', 32)), keys(provider, two)), "secrets", "", "another key and no key")
	}
	for _, bytes := range []int{16, 24} {
		for _, provider := range []string{"aescbc", "aesgcm"} {
			all16 := of(keys(provider, key("short", 'k', bytes)))
			add(all16, all16, "secrets", "", "a shorter key")
		}
	}
	wild := config(rule("configmaps", identity), rule("'*.apps'", keys("aesgcm", one)), rule("'*.'", keys("aescbc", one)), rule("'*.*'", keys("secretbox", one)))
	for _, resource := range []string{"configmaps", "secrets", "deployments.apps", "roles.rbac.authorization.k8s.io", "pandas.awesome.bears.example"} {
		add(wild, wild, resource, "", "by wildcard")
	}
	toyOne, toyTwo := of(kms("toy", "one")), of(kms("toy", "two"))
	add(toyOne, toyOne, "secrets", "", "enveloped")
	add(toyOne, toyOne, "secrets", "/registry/secrets/default/y", "moved")
	add(toyOne, toyTwo, "secrets", "", "the plugin has another key now")
	add(toyOne, of(keys("aescbc", one), kms("toy", "one")), "secrets", "", "away")
	add(toyOne, of(kms("other", "one")), "secrets", "", "another plugin")
	lost := of(kms("toy", "lost"))
	add(lost, toyOne, "secrets", "", "the key is lost")
	return all
}
