//! `jointo_credits._native`: the ledger for Python. Everything here converts and calls; what users see, and the
//! documentation, is in `python/jointo_credits`.
//!
//! | module | what it is for |
//! | --- | --- |
//! | `arguments` | what Python passes, checked |
//! | `objects` | objects of Python's: ids, times, the classes of results |
//! | `results` | what Python gets of each result of the ledger |
//! | `errors` | errors: the classes of `_errors.py` |
//! | `operation` | one call, waited for with the GIL released, or awaited |
//! | `session` | the runtime and the ledger of one process, and what a fork does to them |
//! | `ledger`, `orders` | the calls |
//! | `anchors` | keys of anchors, and the check of a proof |
//! | `channels` | payment channels: what they are configured with |
//! | `quote` | a price, with its breakdown worked out when it is read |
//! | `clock` | the clock that tests move, and the one that waiting goes by |
//! | `records` | what the library logs, on its way to `logging` |

mod anchors;
mod arguments;
mod channels;
mod clock;
mod errors;
mod ledger;
mod objects;
mod operation;
mod orders;
mod quote;
mod records;
mod results;
mod session;
mod settings;

use pyo3::prelude::*;

/// The compiled part of jointo_credits. Use the package, not this.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::anchors::check_proof;
    #[pymodule_export]
    use super::channels::{Alipay, WeChatPay};
    #[pymodule_export]
    use super::clock::ManualClock;
    #[pymodule_export]
    use super::ledger::NativeLedger;
    #[pymodule_export]
    use super::operation::{Inbox, Operation};
    #[pymodule_export]
    use super::orders::NativeOrders;
    #[pymodule_export]
    use super::quote::Quote;
    #[pymodule_export]
    use super::records::flush_records;
    #[pymodule_export]
    use super::results::Entries;
    #[pymodule_export]
    use super::session::{after_fork_in_child, after_fork_in_parent, before_fork};
    use jointo_credits::{FaultKind, Kind, OrderStatus, Source, Status};
    use pyo3::prelude::*;
    use pyo3::types::{PyDict, PyTuple};

    /// The version of the library.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::records::collect();
        // The words of the library by what they are of, for a test that compares them with the package's.
        let py = module.py();
        let words = PyDict::new(py);
        let kinds = Kind::ALL.iter().map(|word| word.as_str());
        words.set_item("Kind", PyTuple::new(py, kinds.collect::<Vec<_>>())?)?;
        let sources = Source::ALL.iter().map(|word| word.as_str());
        words.set_item("Source", PyTuple::new(py, sources.collect::<Vec<_>>())?)?;
        let states = Status::ALL.iter().map(|word| word.as_str());
        words.set_item("Status", PyTuple::new(py, states.collect::<Vec<_>>())?)?;
        let states = OrderStatus::ALL.iter().map(|word| word.as_str());
        words.set_item("OrderStatus", PyTuple::new(py, states.collect::<Vec<_>>())?)?;
        let faults = FaultKind::ALL.iter().map(|word| word.as_str());
        words.set_item("FaultKind", PyTuple::new(py, faults.collect::<Vec<_>>())?)?;
        module.add("WORDS", words)
    }
}
