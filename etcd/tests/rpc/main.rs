//! The server over real connections: every call of a script against what a real etcd answered, TLS, HTTP, restarts.
//!
//! `testdata/answers.txt` is what etcd 3.7.3 answered to `script.rs`. With `KEELSON_ETCD` naming an etcd the test
//! asks that first and writes the file anew.

mod client;
mod http;
mod script;
mod server;
