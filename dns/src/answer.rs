//! The answer to one question about the cluster.
//!
//! Pure but for lookups in the caches. Answers, codes and sections are those of CoreDNS's kubernetes
//! plugin (plugin/kubernetes/handler.go, plugin/backend_lookup.go). What only another server knows
//! (the address behind an ExternalName) is left to the caller as a target to look up.

use std::collections::HashSet;
use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::lookup::{Host, Item, NoSuchName, find, names_of_ip, nameservers};
use crate::objects::Objects;
use crate::question::{Asked, parse};

/// https://github.com/kubernetes/dns/blob/master/docs/specification.md
const SCHEMA_VERSION: &str = "1.1.0";
const SCHEMA_VERSION_TTL: u32 = 28_800;
/// SOA times, in seconds.
const REFRESH: i32 = 7200;
const RETRY: i32 = 1800;
const EXPIRE: i32 = 86_400;
const SOA_TTL_MAX: u32 = 300;
/// All targets of an SRV question share this weight.
const SRV_WEIGHT: usize = 100;
/// ExternalName Services may point at each other no deeper than this.
const CNAME_CHAIN_MAX: usize = 10;

/// The zone that is served and how.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    /// Absolute and lower case.
    pub(crate) name: Name,
    pub(crate) ttl: u32,
    /// The addresses we listen on, for the zone's own nameserver records.
    pub(crate) own: Vec<IpAddr>,
}

/// What to send back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) code: ResponseCode,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
    /// A name outside the zone whose records of the asked type belong after the answers. If it
    /// cannot be looked up, the reply is [`Reply::without_target`].
    pub(crate) target: Option<Name>,
}

/// Whose question it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Ours(Box<Reply>),
    /// Not about the cluster.
    Forward,
}

impl Reply {
    fn of(answers: Vec<Record>) -> Self {
        let none = Vec::new;
        Reply { code: ResponseCode::NoError, answers, authorities: none(), additionals: none(), target: None }
    }

    /// The reply if nobody knows the target: the name exists but has no such records.
    pub(crate) fn without_target(mut self, zone: &Zone, name: &Name, serial: u32) -> Self {
        self.answers.clear();
        self.target = None;
        self.authorities = vec![zone.soa(name, serial)];
        self
    }
}

impl Zone {
    /// The zone's SOA record; its owner has the case of the question.
    fn soa(&self, name: &Name, serial: u32) -> Record {
        let zone = name.trim_to(self.name.num_labels().into());
        let below = |labels: &[&str]| self.below_of(&zone, labels.iter().copied());
        let (primary, mailbox) = (below(&["ns", "dns"]), below(&["hostmaster"]));
        let soa = SOA::new(primary, mailbox, serial, REFRESH, RETRY, EXPIRE, self.ttl);
        Record::from_rdata(zone, self.ttl.min(SOA_TTL_MAX), RData::SOA(soa))
    }

    fn below<'a>(&self, labels: impl DoubleEndedIterator<Item = &'a str>) -> Name {
        self.below_of(&self.name, labels)
    }

    /// A name below the zone. One that is too long cannot be asked for either.
    fn below_of<'a>(&self, zone: &Name, labels: impl DoubleEndedIterator<Item = &'a str>) -> Name {
        let longer = |name: Name, label: &str| name.prepend_label(label).unwrap_or(name);
        labels.rev().fold(zone.clone(), longer)
    }

    /// The labels of a name of the zone left of it, lower case.
    fn labels_of(&self, name: &Name) -> Vec<String> {
        let count = usize::from(name.num_labels()).saturating_sub(self.name.num_labels().into());
        let text = |label: &[u8]| String::from_utf8_lossy(label).to_lowercase();
        name.iter().take(count).map(text).collect()
    }
}

/// Answers a question of class IN.
pub(crate) fn answer(zone: &Zone, objects: &dyn Objects, name: &Name, kind: RecordType) -> Answer {
    if zone.name.zone_of(name) {
        let asking = Asking { zone, objects, name, kind };
        return Answer::Ours(Box::new(asking.reply()));
    }
    if kind == RecordType::PTR
        && let Ok(net) = name.parse_arpa_name()
        && net.prefix_len() == net.max_prefix_len()
    {
        let names = names_of_ip(objects, net.addr());
        let pointer = |labels: &Vec<String>| RData::PTR(PTR(zone.below(labels.iter().map(String::as_str))));
        let records: Vec<Record> =
            names.iter().map(|labels| Record::from_rdata(name.clone(), zone.ttl, pointer(labels))).collect();
        if !records.is_empty() {
            return Answer::Ours(Box::new(Reply::of(records)));
        }
    }
    Answer::Forward
}

struct Asking<'a> {
    zone: &'a Zone,
    objects: &'a dyn Objects,
    name: &'a Name,
    kind: RecordType,
}

impl Asking<'_> {
    fn reply(&self) -> Reply {
        let reply = match self.kind {
            RecordType::A | RecordType::AAAA => self.addresses(),
            RecordType::SRV => self.services(),
            RecordType::CNAME => self.alias(),
            RecordType::TXT => self.text(),
            RecordType::SOA if self.is_apex() => Ok(Reply::of(vec![self.soa()])),
            RecordType::SOA => Ok(Reply::of(Vec::new())),
            RecordType::NS if self.is_apex() => Ok(self.nameservers()),
            RecordType::AXFR | RecordType::IXFR => {
                return Reply { code: ResponseCode::Refused, ..Reply::of(Vec::new()) };
            }
            // Only whether the name exists matters.
            _ => self.find(self.name).map(|_| Reply::of(Vec::new())),
        };
        let mut reply = reply.unwrap_or_else(|NoSuchName| Reply { code: self.negative(), ..Reply::of(Vec::new()) });
        if reply.answers.is_empty() {
            reply.authorities = vec![self.soa()];
        }
        reply
    }

    /// Before the caches are filled, nobody can say that a name does not exist.
    fn negative(&self) -> ResponseCode {
        if self.objects.synced() { ResponseCode::NXDomain } else { ResponseCode::ServFail }
    }

    fn is_apex(&self) -> bool {
        self.name.num_labels() == self.zone.name.num_labels()
    }

    fn soa(&self) -> Record {
        self.zone.soa(self.name, self.objects.modified())
    }

    fn record(&self, name: &Name, data: RData) -> Record {
        Record::from_rdata(name.clone(), self.zone.ttl, data)
    }

    fn parsed(&self, name: &Name) -> Asked {
        parse(&self.zone.labels_of(name))
    }

    fn find(&self, name: &Name) -> Result<Vec<Item>, NoSuchName> {
        if self.zone.labels_of(name) == ["ns", "dns"] {
            return Ok(nameservers(self.objects, &self.zone.own));
        }
        find(self.objects, &self.parsed(name))
    }

    fn addresses(&self) -> Result<Reply, NoSuchName> {
        let mut reply = Reply::of(Vec::new());
        let mut name = self.name.clone();
        let mut seen = HashSet::new();
        loop {
            let items = self.find(&name);
            // A chain that ends nowhere leaves its first name without addresses.
            let items = if seen.is_empty() { items? } else { items.unwrap_or_default() };
            let Some(target) = items.iter().find_map(target_of) else {
                let before = reply.answers.len();
                reply.answers.extend(self.address_records(&name, &items));
                if reply.answers.len() == before {
                    reply.answers.clear();
                }
                return Ok(reply);
            };
            // A target below its own name is as much of a loop as one that is that name.
            let looping = name.zone_of(&target) || !seen.insert(target.clone()) || seen.len() > CNAME_CHAIN_MAX;
            if looping {
                reply.answers.clear();
                return Ok(reply);
            }
            reply.answers.push(self.record(&name, RData::CNAME(CNAME(target.clone()))));
            if !self.zone.name.zone_of(&target) {
                reply.target = Some(target);
                return Ok(reply);
            }
            name = target;
        }
    }

    fn address_records(&self, name: &Name, items: &[Item]) -> Vec<Record> {
        let mut seen = HashSet::new();
        let data = items.iter().filter_map(|item| match (&item.host, self.kind) {
            (Host::Ip(IpAddr::V4(ip)), RecordType::A) => Some((IpAddr::V4(*ip), RData::A(A(*ip)))),
            (Host::Ip(IpAddr::V6(ip)), RecordType::AAAA) => Some((IpAddr::V6(*ip), RData::AAAA(AAAA(*ip)))),
            _ => None,
        });
        data.filter(|(ip, _)| seen.insert(*ip)).map(|(_, data)| self.record(name, data)).collect()
    }

    fn services(&self) -> Result<Reply, NoSuchName> {
        let items = self.find(self.name)?;
        let items: Vec<(IpAddr, &Item)> = items.iter().filter_map(|item| ip_of(item).map(|ip| (ip, item))).collect();
        let weight = (SRV_WEIGHT / items.len().max(1)).max(1) as u16;
        let (mut reply, mut targets, mut hosts) = (Reply::of(Vec::new()), HashSet::new(), HashSet::new());
        for (ip, item) in items {
            let Some(port) = item.port else { continue };
            let target = self.zone.below(item.labels.iter().map(String::as_str));
            if targets.insert((target.clone(), port)) {
                let data = RData::SRV(SRV::new(0, weight, port, target.clone()));
                reply.answers.push(self.record(self.name, data));
            }
            if hosts.insert((target.clone(), ip)) {
                reply.additionals.push(self.record(&target, address(ip)));
            }
        }
        Ok(reply)
    }

    fn alias(&self) -> Result<Reply, NoSuchName> {
        let target = self.find(self.name)?.first().and_then(target_of);
        let data = target.map(|target| RData::CNAME(CNAME(target)));
        Ok(Reply::of(data.map(|data| self.record(self.name, data)).into_iter().collect()))
    }

    fn text(&self) -> Result<Reply, NoSuchName> {
        if self.zone.labels_of(self.name) == ["dns-version"] {
            let data = RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()]));
            return Ok(Reply::of(vec![Record::from_rdata(self.name.clone(), SCHEMA_VERSION_TTL, data)]));
        }
        // CoreDNS denies names without records of their own here, a namespace's for one.
        let items = self.find(self.name)?;
        if items.is_empty() { Err(NoSuchName) } else { Ok(Reply::of(Vec::new())) }
    }

    fn nameservers(&self) -> Reply {
        let (mut reply, mut seen) = (Reply::of(Vec::new()), HashSet::new());
        for item in nameservers(self.objects, &self.zone.own) {
            let Some(ip) = ip_of(&item) else { continue };
            let target = self.zone.below(item.labels.iter().map(String::as_str));
            reply.additionals.push(self.record(&target, address(ip)));
            if seen.insert(target.clone()) {
                reply.answers.push(self.record(self.name, RData::NS(NS(target))));
            }
        }
        reply
    }
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

fn ip_of(item: &Item) -> Option<IpAddr> {
    match item.host {
        Host::Ip(ip) => Some(ip),
        Host::Name(_) => None,
    }
}

fn target_of(item: &Item) -> Option<Name> {
    match &item.host {
        Host::Name(name) => {
            let mut name = Name::from_ascii(name).ok()?;
            name.set_fqdn(true);
            Some(name)
        }
        Host::Ip(_) => None,
    }
}
