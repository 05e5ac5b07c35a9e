//! Reads objects by known fields and values by type; what does not fit becomes a fault.

use super::faults::{Faults, Place, list_words, quote};
use crate::model::{
    ErrorCode,
    json::{Json, Path},
    text,
};

/// The longest text that has no narrower limit, in characters.
pub(super) const TEXT_CHARS_MAX: usize = 1_000_000;

/// The fields that an object may have.
#[derive(Debug)]
pub(super) struct Fields<const N: usize> {
    /// The names, in the order of the schema.
    pub(super) names: [&'static str; N],
    /// Another name of one of them, with its position.
    pub(super) alias: Option<(&'static str, usize)>,
    /// Where callers can read about the fields.
    pub(super) hint: &'static str,
}

/// An object whose known fields were found; a null counts as absent.
#[derive(Debug)]
pub(super) struct Object<'j, 'a, const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<&'j Json<'a>>; N],
    alias: Option<&'static str>,
    nulls: u32,
}

/// Whether a text may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blank {
    /// It may.
    Allowed,
    /// It must say something.
    Refused,
}

impl<const N: usize> Fields<N> {
    /// Finds the known fields of an object; anything else in it is a fault, as is another type.
    pub(super) fn read<'j, 'a>(
        &'static self,
        json: &'j Json<'a>,
        place: &Place<'_>,
        faults: &mut Faults,
    ) -> Option<Object<'j, 'a, N>> {
        let Json::Object(fields) = json else {
            wrong_type(json, "an object", place, faults);
            return None;
        };
        let names = &self.names;
        let mut object = Object { names, values: [None; N], alias: None, nulls: 0 };
        let mut seen = 0_u32;
        let mut guess = 0;
        for (key, value) in fields {
            let Some(at) = self.find(key, guess) else {
                faults.add(|| self.unknown(key, place));
                continue;
            };
            guess = at + 1;
            if seen & 1 << at != 0 {
                faults.add(|| self.twice(at, place));
            }
            seen |= 1 << at;
            if key != names[at] {
                object.alias = self.alias.map(|it| it.0);
            }
            if matches!(value, Json::Null) {
                object.nulls |= 1 << at;
            } else {
                object.values[at] = Some(value);
            }
        }
        Some(object)
    }

    /// The position of a field; callers mostly write them in order, so `guess` comes first.
    fn find(&self, key: &str, guess: usize) -> Option<usize> {
        if self.names.get(guess).is_some_and(|it| *it == key) {
            return Some(guess);
        }
        let alias = self.alias.filter(|it| it.0 == key).map(|it| it.1);
        self.names.iter().position(|it| *it == key).or(alias)
    }

    fn unknown(&self, key: &str, place: &Place<'_>) -> crate::model::Fault {
        let names = self.names.iter().copied().chain(self.alias.map(|it| it.0));
        let guess = text::did_you_mean(key, names);
        let message = match place.path {
            Path::Root => format!("{} has no field {}{guess}", place.subject, quote(key)),
            Path::Key(..) | Path::Index(..) => {
                format!("{}: unknown field {}{guess}", place.owner(), quote(key))
            }
        };
        let at = place.key(key);
        at.say(ErrorCode::UnknownField, &message, self.hint)
    }

    fn twice(&self, at: usize, place: &Place<'_>) -> crate::model::Fault {
        let (name, alias) = (self.names[at], self.alias.map_or("", |it| it.0));
        let message = format!(
            "{}: {name:?} and {alias:?} are two names of one field; both are given",
            place.owner()
        );
        let hint = format!("keep {name:?} only");
        place.key(alias).say(ErrorCode::DuplicateField, &message, &hint)
    }
}

impl<'j, 'a, const N: usize> Object<'j, 'a, N> {
    /// A field that may be absent.
    pub(super) fn get(&self, at: usize) -> Option<&'j Json<'a>> {
        self.values[at]
    }

    /// A field that must be there.
    pub(super) fn require(
        &self,
        at: usize,
        place: &Place<'_>,
        hint: &str,
        faults: &mut Faults,
    ) -> Option<&'j Json<'a>> {
        if self.values[at].is_none() {
            let what = if self.nulls & 1 << at == 0 { "is missing" } else { "must not be null" };
            let at = place.key(self.names[at]);
            faults.add(|| at.fault(ErrorCode::MissingField, format_args!("{what}"), hint));
        }
        self.values[at]
    }

    /// A field's name, as the caller wrote it where there is an alias.
    pub(super) fn name_or_alias(&self, at: usize) -> &'static str {
        self.alias.unwrap_or(self.names[at])
    }
}

/// Reads a text of at most `chars_max` characters.
pub(super) fn text<'j>(
    json: &'j Json<'_>,
    place: &Place<'_>,
    blank: Blank,
    chars_max: usize,
    faults: &mut Faults,
) -> Option<&'j str> {
    let Json::String(text) = json else {
        wrong_type(json, "a string", place, faults);
        return None;
    };
    if blank == Blank::Refused && text.trim().is_empty() {
        let what = format_args!("must not be empty");
        faults.add(|| place.fault(ErrorCode::EmptyValue, what, "say what is meant"));
        return None;
    }
    check_length(text, place, chars_max, faults).then_some(text.as_ref())
}

/// Checks that a text has at most `chars_max` characters.
pub(super) fn check_length(
    text: &str,
    place: &Place<'_>,
    chars_max: usize,
    faults: &mut Faults,
) -> bool {
    // Counting characters is only needed where the bytes are more.
    if text.len() <= chars_max || text.chars().count() <= chars_max {
        return true;
    }
    let n_chars = text.chars().count();
    let what = format_args!("has {n_chars} characters; at most {chars_max} are allowed");
    faults.add(|| {
        place.fault(ErrorCode::TooLong, what, "put the long part in a file and pass its path")
    });
    false
}

/// Reads one of a few words.
pub(super) fn word<'w>(
    json: &Json<'_>,
    place: &Place<'_>,
    words: &[&'w str],
    faults: &mut Faults,
) -> Option<&'w str> {
    let Json::String(text) = json else {
        wrong_type(json, "a string", place, faults);
        return None;
    };
    let found = words.iter().find(|it| **it == text.as_ref()).copied();
    if found.is_none() {
        faults.add(|| {
            let guess = text::did_you_mean(text, words.iter().copied());
            let known = list_words(words);
            let what = format_args!("must be {known}, not {}{guess}", quote(text));
            place.fault(ErrorCode::InvalidEnum, what, &format!("choose {known}"))
        });
    }
    found
}

/// Reads a boolean.
pub(super) fn flag(json: &Json<'_>, place: &Place<'_>, faults: &mut Faults) -> Option<bool> {
    let Json::Bool(flag) = json else {
        wrong_type(json, "true or false", place, faults);
        return None;
    };
    Some(*flag)
}

/// Reads a whole number from `min` to `max`; `5.0` is one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "limits are far below 2^53, and other numbers are refused before the cast"
)]
pub(super) fn integer(
    json: &Json<'_>,
    place: &Place<'_>,
    (min, max): (u64, u64),
    faults: &mut Faults,
) -> Option<u64> {
    let Json::Number(number) = json else {
        wrong_type(json, "a whole number", place, faults);
        return None;
    };
    let float = number.as_f64().unwrap_or(f64::NAN);
    if float.fract() != 0.0 {
        wrong_number(number, "a whole number", ErrorCode::InvalidType, place, faults);
        return None;
    }
    if float < min as f64 || float > max as f64 {
        let range = format!("from {min} to {max}");
        wrong_number(number, &range, ErrorCode::OutOfRange, place, faults);
        return None;
    }
    Some(float as u64)
}

/// Reads a number of seconds above zero, up to `max`.
pub(super) fn seconds(
    json: &Json<'_>,
    place: &Place<'_>,
    max: f64,
    faults: &mut Faults,
) -> Option<f64> {
    let Json::Number(number) = json else {
        wrong_type(json, "a number of seconds", place, faults);
        return None;
    };
    let seconds = number.as_f64().unwrap_or(f64::NAN);
    // Not a number is no time either.
    if !(seconds > 0.0 && seconds <= max) {
        let range = format!("above 0 and at most {max}");
        wrong_number(number, &range, ErrorCode::OutOfRange, place, faults);
        return None;
    }
    Some(seconds)
}

/// Reads an amount of money in US dollars, from `min` to `max`.
pub(super) fn dollars(
    json: &Json<'_>,
    place: &Place<'_>,
    (min, max): (f64, f64),
    faults: &mut Faults,
) -> Option<f64> {
    let Json::Number(number) = json else {
        wrong_type(json, "a number of dollars", place, faults);
        return None;
    };
    let dollars = number.as_f64().unwrap_or(f64::NAN);
    if !(min..=max).contains(&dollars) {
        let range = format!("from {min} to {max}");
        wrong_number(number, &range, ErrorCode::OutOfRange, place, faults);
        return None;
    }
    Some(dollars)
}

/// Views a list.
pub(super) fn list<'j, 'a>(
    json: &'j Json<'a>,
    place: &Place<'_>,
    faults: &mut Faults,
) -> Option<&'j [Json<'a>]> {
    let Json::Array(items) = json else {
        wrong_type(json, "a list", place, faults);
        return None;
    };
    Some(items)
}

/// Records that a value is of another type than the field's.
pub(super) fn wrong_type(json: &Json<'_>, wanted: &str, place: &Place<'_>, faults: &mut Faults) {
    faults.add(|| {
        let hint = match (json, wanted) {
            (Json::String(_), "a list") => "write [\"…\"] even for a single item".to_owned(),
            (Json::String(_), "a whole number" | "a number of seconds" | "a number of dollars") => {
                "write the number without quotes".to_owned()
            }
            (Json::String(_), "an object") => {
                "pass the JSON itself, not a string that holds it".to_owned()
            }
            _ => format!("pass {wanted}"),
        };
        let what = format_args!("must be {wanted}, not {}", json.kind());
        place.fault(ErrorCode::InvalidType, what, &hint)
    });
}

fn wrong_number(
    number: &serde_json::Number,
    wanted: &str,
    code: ErrorCode,
    place: &Place<'_>,
    faults: &mut Faults,
) {
    faults.add(|| {
        let what = format_args!("must be {wanted}, not {number}");
        let noun = if code == ErrorCode::OutOfRange { "a number " } else { "" };
        place.fault(code, what, &format!("pass {noun}{wanted}"))
    });
}
