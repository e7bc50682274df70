//! The product that sells the credits: its customers, their orders, and its housekeeping.

use crate::count::Count;
use crate::job::{Fate, Job};
use crate::meter::{Call, Meter};
use crate::stage::{Stage, Turn, lock};
use crate::trace::{Random, Row};
use crate::{Failure, job};
use indicatif::ProgressBar;
use jointo_credits::pricing::Decimal;
use jointo_credits::{Gift, Grant, Ledger, Money, Package, Source, Timestamp, Usage};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// What the jobs are billed as.
pub const FEATURE: &str = "text_processing";
/// How long an answer is taken to be before it is there, by those who have an idea.
const GUESSED_ANSWER_TOKENS: u32 = 250;

// Real products give weeks and months; these are shorter, so that an hour of jobs sees deadlines pass.
const BONUS_LIFE: Duration = Duration::from_secs(30 * 60);
const GIFT_LIFE: Duration = Duration::from_secs(15 * 60);
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(60);

/// The shares of the customers that buy each package first, in the order in which the shop shows them.
const FIRST_BOUGHT: [f64; 4] = [0.60, 0.25, 0.12, 0.03];

pub struct Customer {
    pub id: Uuid,
    /// Whether this one buys again after running out.
    pub buys_again: bool,
    first_package: usize,
    welcome_gift: bool,
    orders: Mutex<Vec<Order>>,
}

/// What a customer ordered, written down before the ledger is called: a repeated call must be the same call, and the
/// expiry depends on when it was first made.
#[derive(Clone)]
struct Order {
    package: Arc<Package>,
    bonus_expires_at: Timestamp,
}

impl Customer {
    fn new(random: &mut Random) -> Self {
        let bits = (u128::from(random.next()) << 64) | u128::from(random.next());
        let mut drawn = random.unit();
        let passed = FIRST_BOUGHT.iter().take_while(|share| {
            drawn -= *share;
            drawn >= 0.0
        });
        Customer {
            id: uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid(),
            first_package: passed.count(),
            buys_again: random.chance(0.6),
            welcome_gift: random.chance(0.1),
            orders: Mutex::default(),
        }
    }

    /// How often this one has bought.
    pub fn orders_made(&self) -> usize {
        lock(&self.orders).len()
    }

    /// Order `number`, counted from 0; made now if it is the next one. Each is of a larger package than the last.
    fn order(&self, number: usize, shop: &[Arc<Package>], now: Timestamp) -> Option<Order> {
        let mut orders = lock(&self.orders);
        if orders.len() == number {
            let package = shop.get(self.first_package + number).or(shop.last())?;
            orders.push(Order {
                package: Arc::clone(package),
                bonus_expires_at: now.plus(BONUS_LIFE),
            });
        }
        orders.get(number).cloned()
    }
}

/// Who comes.
pub enum Visit {
    /// A customer (by number) for the first time.
    Opening(usize),
    /// A job.
    Job(Job),
    /// The housekeeping, which stays.
    Housekeeping,
}

pub struct Product {
    pub ledger: Ledger,
    pub stage: Stage,
    pub customers: Vec<Customer>,
    /// The catalogue's packages, in the order in which the shop shows them.
    shop: Vec<Arc<Package>>,
    pub count: Count,
    pub meter: Meter,
    pub progress: ProgressBar,
    /// Calls that were repeated with the same key.
    pub repeated: AtomicU64,
    seed: u64,
    /// After this, credits held for a worker that does not answer are the customer's again: the rate card says so.
    hold_ttl: Duration,
}

impl Product {
    /// Opens with the catalogue that the ledger comes with: its packages, and its rate card for the jobs.
    pub async fn open(
        ledger: Ledger,
        stage: Stage,
        accounts: u32,
        seed: u64,
        progress: ProgressBar,
    ) -> Result<Self, Failure> {
        ledger.seed_catalog().await?;
        let packages = ledger.packages().await?;
        let nothing = Usage::of(FEATURE).metered("input_tokens", 0);
        let price = ledger.calculate(&nothing, None).await?;
        let Some(hold_ttl) = price.card().hold_ttl() else {
            let problem = format!("the rate card of {FEATURE} does not say how long a hold lives");
            return Err(Failure::Unusable(problem));
        };
        let mut random = Random::new(seed, u64::MAX);
        Ok(Product {
            ledger,
            stage,
            customers: (0..accounts).map(|_| Customer::new(&mut random)).collect(),
            shop: packages.into_iter().map(Arc::new).collect(),
            count: Count::default(),
            meter: Meter::default(),
            progress,
            repeated: AtomicU64::new(0),
            seed,
            hold_ttl,
        })
    }

    /// What will happen to job `number`; the same for the same seed.
    pub fn plan(&self, number: u64, row: &Row) -> Job {
        let mut random = Random::new(self.seed, number);
        // Some are heavy users: of 1,000 customers the first one has a tenth of all jobs.
        let customer = (random.unit().powi(3) * self.customers.len() as f64) as usize;
        let works = Duration::from_millis(300 + u64::from(row.generated_tokens) * 20);
        let fate = match random.unit() {
            u if u < 0.04 => Fate::Fails,
            u if u < 0.07 => Fate::Forgotten,
            u if u < 0.08 => Fate::Late,
            u if u < 0.10 => Fate::Complaint,
            _ => Fate::Succeeds,
        };
        Job {
            number,
            customer,
            model: if random.chance(0.8) { "pro" } else { "standard" },
            input_tokens: row.context_tokens,
            output_guess: random.chance(0.75).then_some(GUESSED_ANSWER_TOKENS),
            output_tokens: row.generated_tokens,
            done_at: row.at.plus(if fate == Fate::Late {
                self.hold_ttl * 5 / 4
            } else {
                works
            }),
            fate,
            consume_twice: random.chance(0.05),
            settle_twice: random.chance(if fate == Fate::Fails { 0.3 } else { 0.05 }),
            apology: random.chance(0.1),
        }
    }

    /// Everything that one visit leads to.
    pub async fn serve(self: Arc<Self>, visit: Visit, turn: Turn) -> Result<(), Failure> {
        match visit {
            Visit::Opening(n) => self.welcome(n).await,
            Visit::Job(job) => {
                job::run(&self, &job, turn).await?;
                self.progress.inc(1);
                Ok(())
            }
            Visit::Housekeeping => self.keep_house(turn).await,
        }
    }

    /// A new customer buys a package; some get a present.
    async fn welcome(&self, n: usize) -> Result<(), Failure> {
        let Some(customer) = self.customers.get(n) else {
            return Ok(());
        };
        self.buy(customer, 0).await?;
        if customer.welcome_gift {
            let gift = Gift::new(customer.id, 20, "welcome").expires_at(self.stage.now().plus(GIFT_LIFE));
            self.gift(gift, "welcome").await?;
        }
        Ok(())
    }

    /// Order `number` of a customer, paid for. Two lots: what was paid for, and the bonus on top.
    ///
    /// Safe to call twice, also at once: the keys are the order's, and the second call gets the first one's result.
    pub async fn buy(&self, customer: &Customer, number: usize) -> Result<(), Failure> {
        let Some(Order {
            package,
            bonus_expires_at,
        }) = customer.order(number, &self.shop, self.stage.now())
        else {
            return Ok(());
        };
        let order = format!("order-{number}");
        let cost = Money {
            minor: minor(package.price)?,
            currency: package.currency.clone(),
        };
        let paid = Grant::new(customer.id, package.credits, Source::Purchase)
            .cost(cost)
            .reference(&order);
        let bonus = Grant::new(customer.id, package.bonus_credits, Source::Bonus)
            .expires_at(bonus_expires_at)
            .reference(&order);
        for (grant, key) in [(paid, format!("{order}-paid")), (bonus, format!("{order}-bonus"))] {
            let receipt = self
                .meter
                .time(Call::Grant, self.ledger.grant(grant, Some(&key)))
                .await?;
            self.count.granted(&receipt)?;
        }
        Ok(())
    }

    pub async fn gift(&self, gift: Gift, key: &str) -> Result<(), Failure> {
        let receipt = self
            .meter
            .time(Call::Gift, self.ledger.gift(gift, Some(key)))
            .await?;
        self.count.granted(&receipt)
    }

    /// Makes a call; and, `again`, once more with the same key, as a caller does that has lost the answer. The second
    /// answer must be the first one.
    pub async fn call<T, F>(&self, call: Call, again: bool, make: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = jointo_credits::Result<T>>,
        T: PartialEq + std::fmt::Debug,
    {
        let first = self.meter.time(call, make()).await?;
        if again {
            let second = self.meter.time(call, make()).await?;
            self.repeated.fetch_add(1, Ordering::Relaxed);
            if second != first {
                let broken = format!("{} answered {first:?}, and repeated {second:?}", call.name());
                return Err(Failure::Broken(broken));
            }
        }
        Ok(first)
    }

    /// Once a minute, while everybody goes on. Several processes may do this at once.
    async fn keep_house(&self, mut turn: Turn) -> Result<(), Failure> {
        loop {
            self.sweep().await?;
            let next = self.stage.now().plus(HOUSEKEEPING_EVERY);
            match self.stage.later(turn, next).await {
                Some(now) => turn = now,
                None => return Ok(()),
            }
        }
    }

    /// Writes down what has expired. Nothing depends on when: an expired hold can't be confirmed, and its credits are
    /// the customer's again, from its deadline on.
    pub async fn sweep(&self) -> Result<(), Failure> {
        let holds = self.ledger.expire_pending(None).await?;
        let lots = self.ledger.expire_lots(None).await?;
        self.count.swept(holds);
        self.count.swept(lots);
        Ok(())
    }
}

/// A price in the currency's hundredths. A package's has at most two digits behind the point.
fn minor(mut price: Decimal) -> Result<i64, Failure> {
    price.rescale(2);
    i64::try_from(price.mantissa()).map_err(|e| Failure::Unusable(format!("a price of {price}: {e}")))
}
