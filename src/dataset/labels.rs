use serde::{Deserialize, Serialize};

/// The classes, in the order of the network's outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(Vec<String>);

/// Labels shorter than this are too often alike by right ("car", "cat") to be taken for a typing error ...
const SHORTEST_TYPO: usize = 5;
/// ... unless the one has so many times the clips of the other.
const RARE: usize = 10;

impl Labels {
    /// Sorted, without duplicates.
    pub fn from_names<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        let mut names: Vec<String> = names.into_iter().map(Into::into).collect();
        names.sort();
        names.dedup();
        Self(names)
    }

    /// All names in order.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Index of a name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|n| n == name)
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Pairs that are probably one class spelt in two ways: equal but for case, spaces, `_` and `-`, or one
    /// letter apart (a letter too many, another letter, two letters swapped). Different digits are not taken
    /// for a typing error, and other letters in names of up to four only when the one has at least ten times the
    /// clips of the other (`clips` of each label, in order).
    pub fn similar(&self, clips: &[usize]) -> Vec<(&str, &str)> {
        let count = |i: usize| clips.get(i).copied().unwrap_or(0);
        let mut pairs = Vec::new();
        for (i, a) in self.0.iter().enumerate() {
            for (j, b) in self.0.iter().enumerate().skip(i + 1) {
                let (few, many) = (count(i).min(count(j)), count(i).max(count(j)));
                if is_similar(a, b, few * RARE <= many && many > 0) {
                    pairs.push((a.as_str(), b.as_str()));
                }
            }
        }
        pairs
    }
}

/// The labels of one clip in a table: one, or several joined by commas.
///
/// # Errors
///
/// One sentence when a label is empty or named twice.
pub(super) fn labels_of_clip(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err(format!("the label `{text}` is empty or has an empty part"));
    }
    match (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
        Some(at) => Err(format!("`{text}` names the label `{}` twice; remove one", names[at])),
        None => Ok(names),
    }
}

fn is_similar(a: &str, b: &str, one_is_rare: bool) -> bool {
    let plain = |name: &str| -> Vec<char> {
        name.to_lowercase().chars().filter(|c| !c.is_whitespace() && !matches!(c, '_' | '-')).collect()
    };
    let (a, b) = (plain(a), plain(b));
    let (a, b) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if a == b {
        return true;
    }
    if a.len() < SHORTEST_TYPO && !one_is_rare || b.len() > a.len() + 1 {
        return false;
    }
    let first = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    if b.len() > a.len() {
        return !b[first].is_ascii_digit() && a[first..] == b[first + 1..];
    }
    let replaced = a[first + 1..] == b[first + 1..];
    let swapped = first + 1 < a.len()
        && (a[first], a[first + 1]) == (b[first + 1], b[first])
        && a[first + 2..] == b[first + 2..];
    let digits = a[first].is_ascii_digit() && b[first].is_ascii_digit();
    (replaced || swapped) && !digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_alphabetical_whatever_comes_first() {
        let labels = Labels::from_names(["siren", "air_conditioner", "siren", "drilling"]);
        assert_eq!(labels.names(), ["air_conditioner", "drilling", "siren"]);
        assert_eq!((labels.index("siren"), labels.index("Siren")), (Some(2), None));
    }

    #[test]
    fn one_class_spelt_in_two_ways_is_found() {
        for (a, b) in [
            ("dog_bark", "Dog bark"),
            ("dog", "DOG "),
            ("siren", "sirren"),
            ("drilling", "driling"),
            ("drilling", "drillimg"),
            ("jackhammer", "jakchammer"),
        ] {
            assert_eq!(Labels::from_names([a, b]).similar(&[9, 9]).len(), 1, "{a} {b}");
        }
    }

    #[test]
    fn a_rare_label_may_be_short_to_be_a_typing_error() {
        let labels = Labels::from_names(["dog", "dogg"]);
        assert_eq!(labels.similar(&[40, 1]), [("dog", "dogg")]);
        assert_eq!(labels.similar(&[40, 20]), []);
        assert_eq!(Labels::from_names(["s1", "s2"]).similar(&[40, 1]), []);
    }

    #[test]
    fn different_classes_are_left_alone() {
        for (a, b) in [
            ("car", "cat"),
            ("speaker1", "speaker2"),
            ("speaker1", "speaker11"),
            ("rain", "train"),
            ("sea_waves", "siren"),
        ] {
            assert_eq!(Labels::from_names([a, b]).similar(&[9, 9]), [], "{a} {b}");
        }
    }
}
