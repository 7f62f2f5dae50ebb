//! The combined binary: `keelson up`, `keelson kube-apiserver ...`, and argv[0] dispatch (a link named
//! kubelet is a kubelet).

mod flags;
mod kube_apiserver;
mod signals;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().collect();
    let called = arguments.remove(0);
    let called = called.rsplit('/').next().unwrap_or("keelson").to_string();
    let name = if called == "kube-apiserver" { called } else if arguments.is_empty() { String::new() } else { arguments.remove(0) };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    match name.as_str() {
        "kube-apiserver" => component("kube-apiserver", kube_apiserver::FLAGS, &arguments),
        other => {
            eprintln!("error: unknown command {other:?}");
            ExitCode::from(2)
        }
    }
}

/// Runs a component under its upstream name: usage errors exit 1 as upstream's do.
fn component(name: &str, table: &str, arguments: &[String]) -> ExitCode {
    let values = match flags::parse(name, table, arguments) {
        Ok(values) => values,
        Err(error) => {
            eprintln!("Error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(kube_apiserver::run(&values)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
