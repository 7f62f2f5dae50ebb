//! Errors as etcd's gRPC statuses: code and text of `api/v3rpc/rpctypes/error.go@v3.7.3`.

use store::Error;
use tonic::{Code, Status};

/// An error that etcd knows.
pub(crate) type Known = (Code, &'static str);

pub(crate) const EMPTY_KEY: Known = (Code::InvalidArgument, "etcdserver: key is not provided");
pub(crate) const KEY_NOT_FOUND: Known = (Code::InvalidArgument, "etcdserver: key not found");
pub(crate) const VALUE_PROVIDED: Known = (Code::InvalidArgument, "etcdserver: value is provided");
pub(crate) const LEASE_PROVIDED: Known = (Code::InvalidArgument, "etcdserver: lease is provided");
pub(crate) const TOO_MANY_OPS: Known = (Code::InvalidArgument, "etcdserver: too many operations in txn request");
pub(crate) const DUPLICATE_KEY: Known = (Code::InvalidArgument, "etcdserver: duplicate key given in txn request");
pub(crate) const INVALID_SORT_OPTION: Known = (Code::InvalidArgument, "etcdserver: invalid sort option");
pub(crate) const COMPACTED: Known = (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
pub(crate) const REQUEST_TOO_LARGE: Known = (Code::InvalidArgument, "etcdserver: request is too large");
pub(crate) const STOPPED: Known = (Code::Unavailable, "etcdserver: server stopped");
pub(crate) const MEMBER_NOT_FOUND: Known = (Code::NotFound, "etcdserver: member not found");
pub(crate) const MEMBER_NOT_LEARNER: Known =
    (Code::FailedPrecondition, "etcdserver: can only promote a learner member");
pub(crate) const BAD_LEADER_TRANSFEREE: Known = (Code::FailedPrecondition, "etcdserver: bad leader transferee");
pub(crate) const WRONG_DOWNGRADE_FORMAT: Known =
    (Code::InvalidArgument, "etcdserver: wrong downgrade target version format");
pub(crate) const INVALID_DOWNGRADE_TARGET: Known =
    (Code::InvalidArgument, "etcdserver: invalid downgrade target version");
pub(crate) const ROOT_USER_NOT_EXIST: Known = (Code::FailedPrecondition, "etcdserver: root user does not exist");
pub(crate) const USER_EMPTY: Known = (Code::InvalidArgument, "etcdserver: user name is empty");
pub(crate) const USER_NOT_FOUND: Known = (Code::FailedPrecondition, "etcdserver: user name not found");
pub(crate) const ROLE_NOT_FOUND: Known = (Code::FailedPrecondition, "etcdserver: role name not found");
pub(crate) const ROLE_EMPTY: Known = (Code::InvalidArgument, "etcdserver: role name is empty");
pub(crate) const PERMISSION_NOT_GIVEN: Known = (Code::InvalidArgument, "etcdserver: permission not given");
pub(crate) const AUTH_NOT_ENABLED: Known = (Code::FailedPrecondition, "etcdserver: authentication is not enabled");

/// The status of an error that etcd knows.
pub(crate) fn refuse((code, text): Known) -> Status {
    Status::new(code, text)
}

/// The status of an error of the store, whose texts are etcd's.
pub(crate) fn of(error: &Error) -> Status {
    let code = match error {
        Error::Compacted { .. } | Error::FutureRevision | Error::LeaseTtlTooLarge => Code::OutOfRange,
        Error::Full => Code::ResourceExhausted,
        Error::LeaseNotFound => Code::NotFound,
        Error::LeaseExists => Code::FailedPrecondition,
        Error::TooLarge | Error::EmptyKey | Error::KeyNotFound => Code::InvalidArgument,
        Error::Closed => return refuse(STOPPED),
        // As etcd tells errors it has no status for.
        _ => Code::Unknown,
    };
    Status::new(code, error.to_string())
}

/// What only a cluster, its users or its files could do.
pub(crate) fn not_here(what: &str) -> Status {
    Status::unimplemented(format!("keelson: {what}"))
}
