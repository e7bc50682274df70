//! From JSON to a rate card, checked in full. `docs/rate-card.schema.json` describes the form for editors and for
//! people; what it can't express (tiers that fit together, exact rates) is checked here only.

use super::exact::div;
use super::json::{Node, Object, root};
use super::limits::*;
use super::{
    Attribute, CardError, CardFault, Component, Estimate, Model, Multiplier, RateCard, Rounding, Row, Tier,
};
use crate::ledger::limits::{CREDITS_MAX, TTL_MAX, TTL_MIN};
use alloc::{string::String, vec, vec::Vec};
use core::time::Duration;
use rust_decimal::Decimal;

const MODELS: &str = "flat, per_unit, graduated, volume, package";
const ROUNDINGS: &str = "up, half_up, half_even, down";

impl RateCard {
    /// Reads a rate card from JSON and checks all of it.
    ///
    /// Numbers may be JSON numbers or texts (`0.2` or `"0.2"`); every digit of them counts, for they never become
    /// floats. The form is described in `docs/rate-card.schema.json`; the module's page has an example.
    ///
    /// # Errors
    /// [`CardError`]: the first fault that is found, and where it is.
    pub fn parse(json: &str) -> Result<Self, CardError> {
        card(&root(json, CARD_BYTES_MAX)?)
    }
}

/// Reads a card from a node, such as the one inside a frozen quote.
pub(super) fn card(node: &Node<'_, '_>) -> Result<RateCard, CardError> {
    let object = node.object(&[
        "feature",
        "name",
        "components",
        "multipliers",
        "assume",
        "minimum",
        "maximum",
        "rounding",
        "hold_ttl_seconds",
        "retired",
    ])?;
    if object.optional("retired", |n| n.truth())?.unwrap_or(false) {
        return retired(&object);
    }
    let mut attributes = Attributes(Vec::new());
    let components = object.required("components", |n| {
        n.list(COMPONENTS_MAX, |n| component(&n, &mut attributes))
    })?;
    distinct_quantities(&object, &components)?;
    let multipliers = multipliers(&object, &mut attributes)?;
    let minimum = object.optional("minimum", |n| credits(&n))?;
    let maximum = object.optional("maximum", |n| credits(&n))?;
    if let (Some(minimum), Some(maximum)) = (minimum, maximum)
        && minimum > maximum
    {
        return Err(object.fault("minimum", CardFault::MinimumAboveMaximum { minimum, maximum }));
    }
    let card = RateCard {
        feature: object.required("feature", |n| n.text())?,
        name: object.required("name", |n| n.text())?,
        rounding: object
            .optional("rounding", |n| n.word(ROUNDINGS, Rounding::parse))?
            .unwrap_or_default(),
        hold_ttl: object.optional("hold_ttl_seconds", |n| hold_ttl(&n))?,
        attributes: assume(&object, attributes.0, &components, &multipliers)?,
        components,
        multipliers,
        minimum,
        maximum,
        is_retired: false,
        canonical: String::new(),
        hash: [0; 32],
    };
    fine_enough(&object, &card)?;
    let card = card.seal();
    // Numbers take more room as texts, and what is stored has to be read again.
    match card.canonical.len() {
        bytes if bytes > CARD_BYTES_MAX => Err(node.fault(CardFault::TooLong {
            bytes,
            bytes_max: CARD_BYTES_MAX,
        })),
        _ => Ok(card),
    }
}

/// The card of a feature that is no longer sold. It has no price, so nothing that would say one.
fn retired(object: &Object<'_, '_>) -> Result<RateCard, CardError> {
    for name in object.names() {
        if !["feature", "name", "retired"].contains(&name) {
            return Err(object.fault(name, CardFault::PriceOfRetired));
        }
    }
    let card = RateCard {
        feature: object.required("feature", |n| n.text())?,
        name: object.required("name", |n| n.text())?,
        rounding: Rounding::default(),
        hold_ttl: None,
        attributes: Vec::new(),
        components: Vec::new(),
        multipliers: Vec::new(),
        minimum: None,
        maximum: None,
        is_retired: true,
        canonical: String::new(),
        hash: [0; 32],
    };
    Ok(card.seal())
}

/// The attributes that multipliers have named so far.
struct Attributes(Vec<Attribute>);

impl Attributes {
    fn index(&mut self, name: String) -> usize {
        self.0.iter().position(|a| a.name == name).unwrap_or_else(|| {
            self.0.push(Attribute { name, assumed: None });
            self.0.len() - 1
        })
    }
}

fn component(node: &Node<'_, '_>, attributes: &mut Attributes) -> Result<Component, CardError> {
    let fields = node.map()?;
    let model = fields.required("model", |n| {
        n.word(MODELS, |word| MODELS.split(", ").find(|known| *known == word))
    })?;
    let object = node.object(match model {
        "flat" => &["model", "label", "rate", "multipliers"],
        "graduated" | "volume" => &[
            "model",
            "quantity",
            "label",
            "tiers",
            "per",
            "free_units",
            "estimate",
            "multipliers",
        ],
        _ => &[
            "model",
            "quantity",
            "label",
            "rate",
            "per",
            "free_units",
            "estimate",
            "multipliers",
        ],
    })?;
    let label = object.optional("label", |n| n.text())?;
    let multipliers = multipliers(&object, attributes)?;
    if model == "flat" {
        return Ok(Component {
            quantity: None,
            label,
            model: Model::Flat {
                rate: object.required("rate", |n| credits(&n))?,
            },
            per: Decimal::ONE,
            free_units: Decimal::ZERO,
            estimate: Estimate::Reject,
            multipliers,
        });
    }
    let per = object
        .optional("per", |n| units_above_zero(&n))?
        .unwrap_or(Decimal::ONE);
    Ok(Component {
        quantity: Some(object.required("quantity", |n| n.text())?),
        label,
        model: metered_model(model, &object, per)?,
        per,
        free_units: object.optional("free_units", |n| units(&n))?.unwrap_or_default(),
        estimate: object.optional("estimate", |n| estimate(&n))?.unwrap_or_default(),
        multipliers,
    })
}

fn metered_model(model: &str, object: &Object<'_, '_>, per: Decimal) -> Result<Model, CardError> {
    Ok(match model {
        "per_unit" => object.required("rate", |n| {
            let (rate, unit_price) = unit_rate(&n, per)?;
            Ok(Model::PerUnit { rate, unit_price })
        })?,
        "package" => Model::Package {
            rate: object.required("rate", |n| credits(&n))?,
        },
        "graduated" => Model::Graduated(tiers(object, per)?),
        _ => Model::Volume(tiers(object, per)?),
    })
}

/// Tiers that cover every quantity from zero exactly once.
fn tiers(object: &Object<'_, '_>, per: Decimal) -> Result<Vec<Tier>, CardError> {
    object.required("tiers", |node| {
        // Where the tier before ends; `None` after one without end.
        let mut end = Some(Decimal::ZERO);
        let tiers = node.list(TIERS_MAX, |n| {
            let object = n.object(&["from", "up_to", "rate", "fee"])?;
            let from = object.required("from", |n| units(&n))?;
            let Some(before) = end else {
                return Err(n.fault(CardFault::OpenTier));
            };
            if from > before {
                return Err(object.fault("from", CardFault::GapInTiers { from, end: before }));
            }
            if from < before {
                return Err(object.fault("from", CardFault::OverlappingTiers { from, end: before }));
            }
            let up_to = object.optional("up_to", |n| units(&n))?;
            if let Some(up_to) = up_to
                && up_to <= from
            {
                return Err(object.fault("up_to", CardFault::EmptyTier { from, up_to }));
            }
            end = up_to;
            let (rate, unit_price) = object.required("rate", |n| unit_rate(&n, per))?;
            Ok(Tier {
                from,
                up_to,
                rate,
                fee: object.optional("fee", |n| credits(&n))?.unwrap_or_default(),
                unit_price,
            })
        })?;
        match end {
            None => Ok(tiers),
            Some(_) => Err(node.fault(CardFault::ClosedLastTier)),
        }
    })
}

fn estimate(node: &Node<'_, '_>) -> Result<Estimate, CardError> {
    if node.is_text() {
        return node.word("reject, or an object with default or cap", |word| {
            (word == "reject").then_some(Estimate::Reject)
        });
    }
    let object = node.object(&["default", "cap"])?;
    node.check_count(object.len(), 1)?;
    let default = object.optional("default", |n| units(&n))?.map(Estimate::Default);
    let cap = object.optional("cap", |n| units(&n))?.map(Estimate::Cap);
    default.or(cap).ok_or_else(|| node.fault(CardFault::Empty))
}

fn multipliers(object: &Object<'_, '_>, attributes: &mut Attributes) -> Result<Vec<Multiplier>, CardError> {
    let read = |n: Node<'_, '_>| n.list(MULTIPLIERS_MAX, |n| multiplier(&n, attributes));
    Ok(object.optional("multipliers", read)?.unwrap_or_default())
}

fn multiplier(node: &Node<'_, '_>, attributes: &mut Attributes) -> Result<Multiplier, CardError> {
    let object = node.object(&["attribute", "attributes", "factors", "if_unknown"])?;
    let one = object.optional("attribute", |n| n.text())?;
    let several = object.optional("attributes", |n| {
        let names = n.list(ATTRIBUTES_PER_MULTIPLIER_MAX, |n| n.text())?;
        match names.as_slice() {
            [first, second] if first == second => {
                Err(n.fault(CardFault::DuplicateAttribute { name: first.clone() }))
            }
            [_, _] => Ok(names),
            _ => Err(n.fault(CardFault::WrongType {
                expected: "a list of two attributes; for one there is `attribute`",
                found: "a list of one",
            })),
        }
    })?;
    let names = match (one, several) {
        (Some(name), None) => vec![name],
        (None, Some(names)) => names,
        (None, None) => return Err(object.fault("attribute", CardFault::Missing)),
        (Some(_), Some(_)) => {
            return Err(object.fault(
                "attributes",
                CardFault::UnknownField {
                    known: "attribute, factors, if_unknown".into(),
                },
            ));
        }
    };
    let matrix = names.len() > 1;
    let mut rows = object.required("factors", |n| rows(&n, matrix))?;
    rows.sort_by(|a, b| a.when.cmp(&b.when));
    Ok(Multiplier {
        attributes: names.into_iter().map(|name| attributes.index(name)).collect(),
        rows,
        if_unknown: object.optional("if_unknown", |n| factor(&n))?,
    })
}

/// `{value: factor}`, or `{value: {value: factor}}` for a matrix.
fn rows(node: &Node<'_, '_>, matrix: bool) -> Result<Vec<Row>, CardError> {
    let map = node.map()?;
    node.check_count(map.len(), FACTORS_MAX)?;
    let mut rows = Vec::with_capacity(map.len());
    map.each(|first, n| {
        if matrix {
            let cells = n.map()?;
            n.check_count(cells.len(), FACTORS_MAX)?;
            cells.each(|second, n| {
                rows.push(Row {
                    when: vec![first.into(), second.into()],
                    factor: factor(&n)?,
                });
                Ok(())
            })
        } else {
            rows.push(Row {
                when: vec![first.into()],
                factor: factor(&n)?,
            });
            Ok(())
        }
    })?;
    node.check_count(rows.len(), FACTORS_MAX)?;
    Ok(rows)
}

/// The attributes with the values that the card assumes for them.
fn assume(
    object: &Object<'_, '_>,
    mut attributes: Vec<Attribute>,
    components: &[Component],
    multipliers: &[Multiplier],
) -> Result<Vec<Attribute>, CardError> {
    object.optional("assume", |n| {
        let values = n.map()?;
        n.check_count(values.len(), attributes.len().max(1))?;
        values.each(|name, n| {
            let value = n.text()?;
            let Some((index, attribute)) = attributes.iter_mut().enumerate().find(|(_, a)| a.name == name)
            else {
                return Err(n.fault(CardFault::UnusedAttribute { name: name.into() }));
            };
            let all = components.iter().flat_map(|c| &c.multipliers).chain(multipliers);
            for multiplier in all {
                let Some(place) = multiplier.attributes.iter().position(|a| *a == index) else {
                    continue;
                };
                let listed = |row: &Row| row.when.get(place) == Some(&value);
                if multiplier.if_unknown.is_none() && !multiplier.rows.iter().any(listed) {
                    return Err(n.fault(CardFault::AssumedValueWithoutFactor {
                        value: super::fault::shortened(&value),
                    }));
                }
            }
            attribute.assumed = Some(value);
            Ok(())
        })
    })?;
    Ok(attributes)
}

fn distinct_quantities(object: &Object<'_, '_>, components: &[Component]) -> Result<(), CardError> {
    for (index, component) in components.iter().enumerate() {
        let Some(name) = &component.quantity else { continue };
        let before = components.iter().take(index);
        if before.into_iter().any(|c| c.quantity.as_ref() == Some(name)) {
            let fault = CardFault::DuplicateQuantity { name: name.clone() };
            return Err(object.fault("components", fault));
        }
    }
    Ok(())
}

/// Whether a price of this card can be written at all: digits behind the point add up when numbers are multiplied.
fn fine_enough(object: &Object<'_, '_>, card: &RateCard) -> Result<(), CardError> {
    let finest = |multipliers: &[Multiplier]| -> u32 {
        let scale = |m: &Multiplier| {
            let factors = m.rows.iter().map(|row| row.factor).chain(m.if_unknown);
            factors.map(|f| f.scale()).max().unwrap_or(0)
        };
        multipliers.iter().map(scale).sum()
    };
    let of_component = |c: &Component| {
        let tiers = |tiers: &[Tier]| {
            tiers
                .iter()
                .flat_map(|t| [t.unit_price, t.fee])
                .map(|d| d.scale())
                .max()
        };
        let rate = match &c.model {
            Model::Flat { rate } | Model::Package { rate } => rate.scale(),
            Model::PerUnit { unit_price, .. } => unit_price.scale(),
            Model::Graduated(t) | Model::Volume(t) => tiers(t).unwrap_or(0),
        };
        rate + finest(&c.multipliers)
    };
    let digits = card.components.iter().map(of_component).max().unwrap_or(0) + finest(&card.multipliers);
    if digits > DIGITS_MAX {
        Err(object.fault("components", CardFault::TooFine { digits }))
    } else {
        Ok(())
    }
}

// --- numbers --------------------------------------------------------------------------------------------------------

fn between(
    node: &Node<'_, '_>,
    expected: &'static str,
    possible: impl FnOnce(Decimal) -> bool,
) -> Result<Decimal, CardError> {
    let found = node.decimal()?;
    if possible(found) {
        Ok(found)
    } else {
        Err(node.fault(CardFault::OutOfRange { expected, found }))
    }
}

fn credits(node: &Node<'_, '_>) -> Result<Decimal, CardError> {
    between(node, "0 .. 2^53-1 credits", |n| {
        (Decimal::ZERO..=Decimal::from(CREDITS_MAX)).contains(&n)
    })
}

fn units(node: &Node<'_, '_>) -> Result<Decimal, CardError> {
    between(node, "0 .. 2^53-1 units", |n| {
        (Decimal::ZERO..=Decimal::from(QUANTITY_MAX)).contains(&n)
    })
}

fn units_above_zero(node: &Node<'_, '_>) -> Result<Decimal, CardError> {
    between(node, "more than 0 and at most 2^53-1 units", |n| {
        n > Decimal::ZERO && n <= Decimal::from(QUANTITY_MAX)
    })
}

fn factor(node: &Node<'_, '_>) -> Result<Decimal, CardError> {
    between(node, "0 .. 2^53-1", |n| {
        (Decimal::ZERO..=Decimal::from(CREDITS_MAX)).contains(&n)
    })
}

/// The rate and what it makes for one unit.
fn unit_rate(node: &Node<'_, '_>, per: Decimal) -> Result<(Decimal, Decimal), CardError> {
    let rate = credits(node)?;
    match div(rate, per) {
        Ok(unit_price) => Ok((rate, unit_price)),
        Err(_) => Err(node.fault(CardFault::InexactRate { rate, per })),
    }
}

fn hold_ttl(node: &Node<'_, '_>) -> Result<Duration, CardError> {
    let limits = (Decimal::from(TTL_MIN.as_secs()), Decimal::from(TTL_MAX.as_secs()));
    let seconds = between(node, "1 .. 2592000 whole seconds", |n| {
        (limits.0..=limits.1).contains(&n) && n.is_integer()
    })?;
    Ok(Duration::from_secs(
        u64::try_from(seconds.mantissa()).unwrap_or_default(),
    ))
}
