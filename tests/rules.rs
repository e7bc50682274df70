#![allow(missing_docs)]
mod support {
    pub mod subject;
}
