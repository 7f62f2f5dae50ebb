//! The server over real connections: a script of calls against what a real etcd answers to it, TLS, HTTP, restarts.

mod client;
mod http;
mod script;
mod server;
