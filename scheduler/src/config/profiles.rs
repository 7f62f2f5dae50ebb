//! From the configuration to the profiles that run.
//!
//! Invariant: which plugins run at a point, and in which order, follows upstream's merge of the
//! default set, `multiPoint` and the point's own set
//! (pkg/scheduler/apis/config/v1/default_plugins.go, framework/runtime/framework.go@v1.37.2).

use std::collections::{BTreeMap, BTreeSet};

use super::{Config, PluginChoice, PluginSet, ProfileConfig};
use crate::Error;
use crate::framework::plugin::Point;
use crate::framework::profile::Profile;
use crate::handle::Handle;
use crate::plugins::{BUILT_IN, make_all};

/// The key of the set that applies to every point a plugin takes part in.
const MULTI_POINT: &str = "multiPoint";
/// Stands for all plugins in a list of disabled ones.
const ALL: &str = "*";

/// Makes all profiles, by scheduler name.
pub(crate) fn make(config: &Config, handle: &Handle) -> Result<BTreeMap<String, Profile>, Error> {
    let mut made = BTreeMap::new();
    for profile in &config.profiles {
        if profile.scheduler_name.is_empty() {
            return Err(Error::Config("schedulerName is required".into()));
        }
        let one = make_one(profile, handle)?;
        if made.insert(profile.scheduler_name.clone(), one).is_some() {
            return Err(Error::Config(format!("duplicate profile with scheduler name {:?}", profile.scheduler_name)));
        }
    }
    let sorts: BTreeSet<Vec<_>> = made.values().map(|profile| profile.at(Point::QueueSort).collect()).collect();
    if sorts.len() > 1 {
        return Err(Error::Config("different queue sort plugins for profiles".into()));
    }
    Ok(made)
}

fn make_one(config: &ProfileConfig, handle: &Handle) -> Result<Profile, Error> {
    let refuse = |what: String| Error::Config(format!("profile {:?}: {what}", config.scheduler_name));
    check_names(config).map_err(refuse)?;
    let plugins = make_all(handle, &config.args);
    let takes_part = |name: &str, point: Point| {
        plugins.iter().any(|plugin| plugin.name() == name && plugin.points().contains(&point))
    };
    let none = PluginSet::default();
    let everywhere = multi_point(config.plugins.get(MULTI_POINT).unwrap_or(&none));
    let mut chosen = Vec::new();
    for point in Point::ALL {
        let own = config.plugins.get(point.name()).unwrap_or(&none);
        if let Some(choice) = own.enabled.iter().find(|choice| !takes_part(&choice.name, point)) {
            return Err(refuse(format!("plugin {:?} does not extend {} plugin", choice.name, point.name())));
        }
        let list = at_point(&everywhere, own, |name| takes_part(name, point)).map_err(refuse)?;
        chosen.push((point, list));
    }
    let mut profile = Profile::new(plugins);
    profile.percentage_of_nodes_to_score = config.percentage_of_nodes_to_score;
    for (point, list) in chosen {
        for choice in list {
            profile.enable(point, &choice.name, choice.weight.max(1));
        }
    }
    let sorts = profile.at(Point::QueueSort).count();
    if sorts != 1 {
        return Err(refuse(format!("exactly one queue sort plugin required, but got {sorts}")));
    }
    if !profile.has(Point::Bind) {
        return Err(refuse("at least one bind plugin is needed".into()));
    }
    Ok(profile)
}

fn check_names(config: &ProfileConfig) -> Result<(), String> {
    for (point, set) in &config.plugins {
        if point != MULTI_POINT && !Point::ALL.iter().any(|known| known.name() == point) {
            return Err(format!("plugins at {point:?} are not supported"));
        }
        let unknown = set.enabled.iter().find(|choice| !BUILT_IN.iter().any(|plugin| plugin.name == choice.name));
        if let Some(choice) = unknown {
            return Err(format!("plugin {:?} does not exist", choice.name));
        }
    }
    Ok(())
}

/// The default plugins, changed by the profile's `multiPoint` set.
fn multi_point(custom: &PluginSet) -> Vec<PluginChoice> {
    let off = |name: &str| custom.disabled.iter().any(|choice| choice.name == name);
    let mut replaced = BTreeSet::new();
    let mut list = Vec::new();
    for plugin in BUILT_IN.iter().filter(|plugin| !off(ALL) && !off(plugin.name)) {
        list.push(match custom.enabled.iter().find(|choice| choice.name == plugin.name) {
            Some(choice) => {
                replaced.insert(plugin.name);
                choice.clone()
            }
            None => PluginChoice { name: plugin.name.into(), weight: plugin.weight },
        });
    }
    list.extend(custom.enabled.iter().filter(|choice| !replaced.contains(choice.name.as_str())).cloned());
    list
}

/// The plugins of one point: those of its own set that are also on everywhere, then the others that
/// are on everywhere, then the rest of its own set.
fn at_point(
    everywhere: &[PluginChoice],
    own: &PluginSet,
    takes_part: impl Fn(&str) -> bool,
) -> Result<Vec<PluginChoice>, String> {
    let off = |name: &str| own.disabled.iter().any(|choice| choice.name == name);
    if off(ALL) {
        return Ok(own.enabled.clone());
    }
    let general = everywhere.iter().filter(|choice| takes_part(&choice.name) && !off(&choice.name));
    let general: Vec<&PluginChoice> = general.collect();
    let is_general = |choice: &&PluginChoice| general.iter().any(|known| known.name == choice.name);
    let is_own = |choice: &PluginChoice| own.enabled.iter().any(|known| known.name == choice.name);
    let mut list: Vec<PluginChoice> = own.enabled.iter().filter(is_general).cloned().collect();
    list.extend(general.iter().filter(|choice| !is_own(choice)).map(|choice| (*choice).clone()));
    list.extend(own.enabled.iter().filter(|choice| !is_general(choice)).cloned());
    let mut seen = BTreeSet::new();
    match list.iter().find(|choice| !seen.insert(choice.name.clone())) {
        Some(choice) => Err(format!("plugin {:?} already registered", choice.name)),
        None => Ok(list),
    }
}
