//! Keys of closings, and how the items and objects of one tenant are told from all others.

use domain::id::TenantId;

use super::Key;

/// The partition of `list` that holds the closings under way.
pub(crate) const CLOSINGS: &str = "CLOSINGS";

impl Key {
    /// Where the closing of a tenant stands, and in the end its certificate. Apart from the tenant's own items, since it
    /// outlives them.
    pub(crate) fn closing(tenant: &TenantId) -> Self {
        Self::new(closing_partition(tenant), "CLOSING".to_owned())
    }

    /// A part of the export that this closing of a tenant makes.
    pub(crate) fn export_part(tenant: &TenantId, closing: &str, number: u64) -> Self {
        let sort = format!("{}{number:06}", export_part_prefix(closing));
        Self::new(closing_partition(tenant), sort)
    }
}

pub(crate) fn closing_partition(tenant: &TenantId) -> String {
    format!("CLOSED#{tenant}")
}

/// What the sort keys of the parts of an export begin with.
pub(crate) fn export_part_prefix(closing: &str) -> String {
    format!("PART#{closing}#")
}

/// Whether an item of this partition, with this attribute `tenant`, is one of the tenant's: its partition is `T#<tenant>`
/// or goes on with a `#`, which no id holds; or it stands elsewhere and says whose it is, as API keys do.
pub(crate) fn is_of(tenant: &TenantId, pk: &str, attribute: Option<&str>) -> bool {
    let rest = pk
        .strip_prefix("T#")
        .and_then(|rest| rest.strip_prefix(tenant.as_str()));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
        || attribute == Some(tenant.as_str())
}

/// What the names of a tenant's objects begin with.
pub(crate) fn blobs(tenant: &TenantId) -> String {
    format!("tenants/{tenant}/")
}

/// Where an object of an export stands in the bucket.
pub(crate) fn export(tenant: &TenantId, closing: &str, name: &str) -> String {
    format!("exports/{tenant}/{closing}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    #[test]
    fn layouts_of_closings_never_change() {
        let acme = acme();
        let of = |key: Key| format!("{} {}", key.pk(), key.sk());
        assert_eq!(of(Key::closing(&acme)), "CLOSED#acme CLOSING");
        assert_eq!(
            of(Key::export_part(&acme, "1700000000123", 7)),
            "CLOSED#acme PART#1700000000123#000007"
        );
        assert_eq!(blobs(&acme), "tenants/acme/");
        assert_eq!(
            export(&acme, "1700000000123", "manifest.json"),
            "exports/acme/1700000000123/manifest.json"
        );
    }

    #[test]
    fn a_tenant_has_its_own_items_and_none_of_one_with_a_similar_id() {
        let acme = acme();
        for (pk, attribute) in [
            ("T#acme", None),
            ("T#acme#R#run_0123456789abcdef0123456789abcdef", None),
            ("K#4f9a", Some("acme")),
        ] {
            assert!(is_of(&acme, pk, attribute), "{pk}");
        }
        for (pk, attribute) in [
            ("T#acme2", None),
            ("T#acme2#R#run_0123456789abcdef0123456789abcdef", None),
            ("T#acm", None),
            ("T#acme-x#AUDIT", None),
            ("K#4f9a", Some("acme2")),
            ("K#acme", None),
            ("CLOSED#acme", None),
            ("SWEEP", None),
        ] {
            assert!(!is_of(&acme, pk, attribute), "{pk}");
        }
    }
}
