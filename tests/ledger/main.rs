//! The ledger on real databases: run with `make test`, which brings a PostgreSQL server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(missing_docs)]

mod anchors;
mod bad_input;
mod cache;
mod cancellation;
mod child;
mod clocks;
mod cluster;
mod concurrency;
mod connections;
mod constraints;
mod crash;
mod damage;
mod database;
mod engine;
mod facade;
mod full_disk;
mod inspect;
mod kept;
mod lots;
mod migrations;
mod model;
mod orders;
mod pgbouncer;
mod prices;
mod retention;
mod retries;
mod round_trips;
mod rules;
mod statement;
mod tampering;
mod tls;
mod within;

// Shared with other test programs, which use the rest of them.
#[allow(dead_code)]
#[path = "../support/history.rs"]
mod history;
#[cfg(feature = "redis")]
#[path = "../support/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../support/render.rs"]
mod render;
#[allow(dead_code)]
#[path = "../support/script.rs"]
mod script;
#[path = "../support/auditor/shop.rs"]
mod shop_auditor;
#[allow(dead_code)]
#[path = "../support/subject.rs"]
mod subject;

// What the rules' tables ask for.
use rules::check;
