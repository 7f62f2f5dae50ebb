//! The authorizers that flags or `--authorization-config` ask for
//! (pkg/kubeapiserver/options/authorization.go@v1.37.2: Validate, ToAuthorizationConfig).

use super::Authorizers;
use super::webhook::config::AuthorizationConfiguration;
use super::webhook::metrics::Metrics;
use super::webhook::reload::Reloader;
use crate::configuration::{self, metrics::Reloads};
use crate::options::AuthorizationOptions;

/// What the options come to.
pub(crate) struct Made {
    pub(crate) authorizers: Authorizers,
    pub(crate) reloader: Option<Reloader>,
    /// Whether the flags let everybody do everything, which nobody unknown may be let to.
    pub(crate) all_allowed: bool,
}

/// Reads the options and the files that they name.
///
/// # Errors
/// Upstream's texts.
pub(crate) fn make(
    modes: &[String],
    options: &AuthorizationOptions,
    metrics: Metrics,
    reloads: Reloads,
) -> Result<Made, String> {
    let authorizers = |config: &AuthorizationConfiguration| {
        let authorizers = Authorizers::empty(metrics.clone());
        authorizers.configure(config, &config.local_types())?;
        Ok::<_, String>(authorizers)
    };
    let Some(path) = &options.config_file else {
        let config = AuthorizationConfiguration::of_flags(modes, options)?;
        let all_allowed = modes.iter().any(|mode| mode == "AlwaysAllow");
        return Ok(Made { authorizers: authorizers(&config)?, reloader: None, all_allowed });
    };
    if options.flags_set {
        let why = "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined";
        return Err(why.into());
    }
    let text = configuration::read(path)?;
    let config = AuthorizationConfiguration::load(&text, &[])?;
    let authorizers = authorizers(&config)?;
    reloads.applied(&text);
    let required = config.local_types();
    let reloader = Reloader { path: path.clone(), seen: text, config, required, counted: reloads };
    Ok(Made { authorizers, reloader: Some(reloader), all_allowed: false })
}
