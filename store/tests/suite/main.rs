//! One suite for all backends: each case is run on the memory, the embedded and the etcd store.
//!
//! The etcd runs start a real etcd each, found by `KEELSON_ETCD`, in `~/.cache/keelson-upstream/bin`, or on `PATH`.

mod backends;
mod cluster;
mod leases;
mod ranges;
mod transactions;
mod watches;
mod writes;

/// Runs every case on every backend.
macro_rules! cases {
    ($($module:ident :: $case:ident)*) => {
        local_cases! { memory embedded $($module::$case)* }
        mod etcd { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let server = crate::backends::EtcdServer::start().await;
                crate::$module::$case(server.store().await).await
            }
        )* }
    };
}

/// Runs every case on the backends that are the store's own.
macro_rules! local_cases {
    ($memory:ident $embedded:ident $($module:ident :: $case:ident)*) => {
        mod $memory { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() { crate::$module::$case(store::Store::memory()).await }
        )* }
        mod $embedded { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, _dir) = crate::backends::embedded().await;
                crate::$module::$case(store).await
            }
        )* }
    };
}

local_cases! { memory_transactions embedded_transactions
    transactions::operations_are_one_step
    transactions::comparisons_are_etcds
    transactions::a_refused_transaction_leaves_no_trace
    transactions::all_events_of_a_transaction_come_together
    transactions::concurrent_transactions_are_serial
    transactions::leases_are_named_revoked_and_renewed
}

cases! {
    writes::conditions_hold_and_conflicts_show_the_current_key
    writes::one_of_many_concurrent_creates_wins
    writes::compare_and_write_loses_no_increment
    writes::bad_requests_are_refused
    ranges::a_range_has_etcds_ends
    ranges::limit_count_and_more
    ranges::the_past_can_be_read_until_it_is_compacted
    ranges::a_large_range_is_one_state
    watches::history_comes_first_then_what_happens
    watches::from_now_and_from_the_future
    watches::a_watch_sees_only_its_range
    watches::a_compacted_start_is_told
    watches::progress_is_never_ahead
    watches::every_event_exactly_once
    watches::a_watcher_that_does_not_read_blocks_nobody
    watches::dropping_a_call_to_next_loses_nothing
    watches::closing_ends_watches
    leases::keys_go_with_their_lease
    leases::an_unknown_lease_is_refused
}
