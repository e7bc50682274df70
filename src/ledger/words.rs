//! The words of the books: where credits come from, what an entry is, how a consumption stands.
//!
//! Each has one stable spelling, used in both databases, in JSON and in every binding.

use core::fmt;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[non_exhaustive]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// Every word of this kind.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The stable spelling.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }

            /// The value spelt `word`, if there is one.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Where the credits of a lot come from.
    Source {
        /// Bought.
        Purchase = "purchase",
        /// Given on top of a purchase.
        Bonus = "bonus",
        /// Given away.
        Gift = "gift",
        /// Granted by a running subscription.
        Subscription = "subscription",
        /// A correction by an operator.
        Adjustment = "adjustment",
        /// Credits that came back when their own lot could no longer take them; made by the ledger only.
        Reversal = "reversal",
        /// The balance an account brought from another system.
        Opening = "opening",
    }
}

impl Source {
    /// Whether lots of this source burn before paid ones (rule **burn-order**).
    #[must_use]
    pub const fn is_promotional(self) -> bool {
        matches!(self, Source::Bonus | Source::Gift)
    }
}

words! {
    /// How a consumption stands.
    Status {
        /// A live hold.
        Pending = "pending",
        /// Captured, whole or in part.
        Confirmed = "confirmed",
        /// Given back: a released hold, or a capture reversed in full.
        Refunded = "refunded",
        /// The hold passed its deadline; its credits are back.
        Expired = "expired",
    }
}

words! {
    /// What an entry of the journal records.
    Kind {
        /// Credits came in.
        Grant = "grant",
        /// Credits were given away.
        Gift = "gift",
        /// Credits were held for a consumption.
        Consume = "consume",
        /// A consumption was captured.
        Confirm = "confirm",
        /// A hold was released.
        Refund = "refund",
        /// A capture was given back, whole or in part.
        Reverse = "reverse",
        /// A hold got a later deadline.
        Extend = "extend",
        /// A hold passed its deadline.
        ExpireHold = "expire_hold",
        /// What a lot had left passed its expiry.
        ExpireLot = "expire_lot",
        /// An operator corrected the balance.
        Adjust = "adjust",
        /// The credit limit was set.
        CreditLimit = "credit_limit",
        /// Granted credits were taken back.
        Clawback = "clawback",
        /// An order was made, or changed without moving credits.
        Order = "order",
    }
}
