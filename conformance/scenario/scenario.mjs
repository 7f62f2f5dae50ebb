// The scenario of main.go with the JavaScript client. Usage: scenario.mjs KUBECONFIG.

import assert from "node:assert/strict";
import { once } from "node:events";
import * as k8s from "@kubernetes/client-node";

const namespace = "scenario-javascript";
const limit = 30_000;

const config = new k8s.KubeConfig();
config.loadFromFile(process.argv[2]);
const core = config.makeApiClient(k8s.CoreV1Api);
const leases = config.makeApiClient(k8s.CoordinationV1Api);

const named = (name, value, labels) => ({ metadata: { name, labels }, data: { a: value } });
const create = (body) => core.createNamespacedConfigMap({ namespace, body });
const read = (name) => core.readNamespacedConfigMap({ name, namespace });
const replace = (name, body) => core.replaceNamespacedConfigMap({ name, namespace, body });
const remove = (name) => core.deleteNamespacedConfigMap({ name, namespace });

// The Status of a call that must be refused.
async function refused(call) {
  try {
    await call;
  } catch (error) {
    return typeof error.body === "string" ? JSON.parse(error.body) : error.body;
  }
  assert.fail("not refused");
}

async function crud() {
  const first = await create(named("crud", "1"));
  assert.equal((await refused(create(named("crud", "1")))).reason, "AlreadyExists");
  await replace("crud", { ...first, data: { a: "2" } });
  assert.equal((await refused(replace("crud", first))).reason, "Conflict");
  const merge = k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.MergePatch);
  await core.patchNamespacedConfigMap({ name: "crud", namespace, body: { data: { b: "3" } } }, merge);
  const last = await read("crud");
  assert.deepEqual([last.data, last.metadata.uid], [{ a: "2", b: "3" }, first.metadata.uid]);
  await remove("crud");
  assert.equal((await refused(read("crud"))).reason, "NotFound");
}

async function apply() {
  const applied = (value, fieldManager, force) => {
    const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "apply" }, data: { a: value } };
    const patch = k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.ServerSideApply);
    return core.patchNamespacedConfigMap({ name: "apply", namespace, body, fieldManager, force }, patch);
  };
  await applied("1", "one", false);
  const conflict = await refused(applied("2", "two", false));
  assert.equal(conflict.reason, "Conflict");
  assert.match(conflict.message, /conflict with "one": \.data\.a/);
  const taken = await applied("2", "two", true);
  assert.deepEqual(taken.metadata.managedFields.map((entry) => entry.manager), ["two"]);
}

// So many events behind a version, as words, and the version of the last.
async function changes(version, count) {
  const seen = [];
  const enough = new EventTarget();
  const arrived = once(enough, "enough", { signal: AbortSignal.timeout(limit) });
  const only = { fieldSelector: "metadata.name=watch", resourceVersion: version };
  const path = `/api/v1/namespaces/${namespace}/configmaps`;
  const told = (phase, object) => {
    seen.push(`${phase} ${object.data.a}`);
    version = object.metadata.resourceVersion;
    if (seen.length === count) enough.dispatchEvent(new Event("enough"));
  };
  const stop = await new k8s.Watch(config).watch(path, only, told, () => {});
  await arrived;
  stop.abort();
  return [seen, version];
}

async function watches() {
  const none = await core.listNamespacedConfigMap({ namespace, labelSelector: "none=such" });
  const made = await create(named("watch", "1"));
  await replace("watch", { ...made, data: { a: "2" } });
  const [seen, version] = await changes(none.metadata.resourceVersion, 2);
  assert.deepEqual(seen, ["ADDED 1", "MODIFIED 2"]);
  // While nobody watches.
  await remove("watch");
  assert.deepEqual((await changes(version, 1))[0], ["DELETED 2"]);
}

async function chunks() {
  const labels = { step: "chunks" };
  const wanted = [...Array(25).keys()].map((number) => `chunk-${String(number).padStart(2, "0")}`);
  for (const name of wanted) await create(named(name, "1", labels));
  const [names, versions] = [[], []];
  let token;
  do {
    const page = await core.listNamespacedConfigMap({ namespace, limit: 10, _continue: token });
    versions.push(page.metadata.resourceVersion);
    names.push(...page.items.filter((item) => item.metadata.labels?.step).map((item) => item.metadata.name));
    // What is made between two chunks is in none of them.
    await create(named(`chunk-late-${versions.length}`, "1", labels));
    token = page.metadata._continue;
  } while (token);
  assert.deepEqual(names, wanted);
  assert.deepEqual([versions.length, new Set(versions).size], [3, 1]);
}

// The client has no candidate of its own: both claim what they read, and its version lets one of them in.
async function election() {
  const body = { metadata: { name: "election" }, spec: { leaseDurationSeconds: 4 } };
  const free = await leases.createNamespacedLease({ namespace, body });
  const claim = (holderIdentity, seen) =>
    leases.replaceNamespacedLease({ name: "election", namespace, body: { ...seen, spec: { ...seen.spec, holderIdentity } } });
  const both = await Promise.allSettled([claim("one", free), claim("two", free)]);
  const [won] = both.filter((one) => one.status === "fulfilled");
  const [lost] = both.filter((one) => one.status === "rejected");
  assert.equal((await refused(Promise.reject(lost.reason))).reason, "Conflict");
  const freed = await claim("", won.value);
  assert.equal((await claim("two", freed)).spec.holderIdentity, "two");
}

await core.createNamespace({ body: { metadata: { name: namespace } } });
for (const [name, step] of Object.entries({ crud, apply, watch: watches, chunks, election })) {
  await step();
  console.log("ok", name);
}
await core.deleteNamespace({ name: namespace });
