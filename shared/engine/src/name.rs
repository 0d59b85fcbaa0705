//! The names of drivers.

use domain::id::DriverId;
use uuid::Uuid;

/// Hexadecimal digits of a name that tell which message the driver came by.
const BY: usize = 16;

/// A new name for a driver that came by the message with this id, if by any: a claim is never mistaken for an earlier one of
/// the same process.
pub(crate) fn new_driver(message_id: Option<&str>) -> DriverId {
    let mut name = Uuid::new_v4().simple().to_string();
    let by = message_id.and_then(|id| Uuid::try_parse(id).ok());
    if let Some(by) = by {
        name.replace_range(..BY, &by.simple().to_string()[..BY]);
    }
    DriverId::parse(&name).expect("32 hexadecimal digits are a driver id")
}

/// Whether two drivers came by the same message, which was then delivered twice.
pub(crate) fn are_twins(one: &DriverId, other: &DriverId) -> bool {
    one != other && one.as_str().get(..BY) == other.as_str().get(..BY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_came_by_the_same_message() {
        let message = Uuid::new_v4().to_string();
        let one = new_driver(Some(&message));
        assert!(are_twins(&one, &new_driver(Some(&message))));
        assert!(!are_twins(&one, &one), "that is the driver itself");
        for other in [Some(&*Uuid::new_v4().to_string()), Some("no uuid"), None] {
            assert!(!are_twins(&one, &new_driver(other)));
        }
        assert!(!are_twins(&new_driver(None), &new_driver(None)));
    }
}
