//! Credentials of the tenants' role: `AssumeRole` of STS with the tenant as session tag, in STS's query protocol.
//!
//! Source: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>.

use std::fmt::Write as _;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_runtime::auth::SigningOptions;
use aws_sdk_dynamodb::error::{ErrorMetadata, SdkError};
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::date_time::Format;
use aws_types::SdkConfig;
use domain::id::TenantId;
use http::header::CONTENT_TYPE;
use http::request::Request;

use crate::Error;
use crate::request::{Ask, Signing, chosen, element, operation, region};

/// The session tag that names the tenant; the role's policy compares keys with it.
pub const TENANT_TAG: &str = "TenantId";
/// How long credentials last, in seconds: the most that STS gives to who has a role already.
const LASTS_S: u32 = 3_600;
/// Most characters of a session's name. It is for people who read logs; what binds is the tag.
const LONGEST_NAME: usize = 64;

/// A client of STS for one role.
#[derive(Debug)]
pub(crate) struct Sts {
    role_arn: String,
    operation: Ask,
}

impl Sts {
    pub(crate) fn new(config: &SdkConfig, role_arn: &str) -> Self {
        let endpoint = chosen(config, "STS").unwrap_or_else(|| {
            let (region, suffix) = region(config);
            format!("https://sts.{region}.{suffix}")
        });
        let signing = Signing {
            service: "sts",
            options: SigningOptions::default(),
            body: None,
        };
        Self {
            role_arn: role_arn.to_owned(),
            operation: operation(config, &endpoint, signing),
        }
    }

    /// Credentials that reach what is this tenant's and nothing else.
    pub(crate) async fn assume(&self, tenant: &TenantId) -> Result<Credentials, Error> {
        const ASSUME: &str = "AssumeRole";
        let request = Request::post("/")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(SdkBody::from(form(&self.role_arn, tenant)))
            .map_err(SdkError::<ErrorMetadata, _>::construction_failure)
            .map_err(|error| Error::of_sdk(ASSUME, error))?;
        let answer = Box::pin(self.operation.invoke(request)).await;
        let answer = answer.map_err(|error| Error::of_sdk(ASSUME, error))?;
        parse(&answer).ok_or_else(|| Error::Unavailable {
            operation: ASSUME,
            source: "the answer holds no credentials".into(),
        })
    }
}

fn form(role_arn: &str, tenant: &TenantId) -> String {
    let mut name = format!("skein-{tenant}");
    name.truncate(LONGEST_NAME);
    let duration = LASTS_S.to_string();
    let fields = [
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("RoleArn", role_arn),
        ("RoleSessionName", &name),
        ("DurationSeconds", &duration),
        ("Tags.member.1.Key", TENANT_TAG),
        ("Tags.member.1.Value", tenant.as_str()),
    ];
    let pairs = fields.map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.join("&")
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// The credentials of an answer. All four fields must be there, and none may hold what XML would have to spell otherwise:
/// AWS makes them of letters, digits and the signs of Base64.
fn parse(answer: &[u8]) -> Option<Credentials> {
    let block = element(std::str::from_utf8(answer).ok()?, "Credentials")?;
    let field = |name| {
        let text = element(block, name)?.trim();
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"<>&".contains(&byte);
        (!text.is_empty() && text.bytes().all(is_plain)).then_some(text)
    };
    let expires = DateTime::from_str(field("Expiration")?, Format::DateTime).ok()?;
    Some(Credentials::new(
        field("AccessKeyId")?,
        field("SecretAccessKey")?,
        Some(field("SessionToken")?.to_owned()),
        Some(SystemTime::try_from(expires).ok()?),
        "the tenants' role",
    ))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const ANSWER: &str = r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/tenant/skein-acme</Arn></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>
      <SecretAccessKey>wJalrXUtnFEMI/K7MDENG+bPxRfiCYzEXAMPLEKEY</SecretAccessKey>
      <SessionToken>AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGd==</SessionToken>
      <Expiration>2023-11-14T22:13:20.5Z</Expiration>
    </Credentials>
  </AssumeRoleResult>
</AssumeRoleResponse>"#;

    #[test]
    fn an_answer_holds_four_fields() {
        let credentials = parse(ANSWER.as_bytes()).unwrap();
        assert_eq!(credentials.access_key_id(), "ASIAIOSFODNN7EXAMPLE");
        assert!(credentials.secret_access_key().ends_with("EXAMPLEKEY"));
        assert!(credentials.session_token().unwrap().ends_with("=="));
        let expires = UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        assert_eq!(credentials.expiry(), Some(expires));
    }

    #[test]
    fn half_an_answer_is_none() {
        for name in [
            "AccessKeyId",
            "SecretAccessKey",
            "SessionToken",
            "Expiration",
        ] {
            let lacking = ANSWER.replace(name, "Other");
            assert!(parse(lacking.as_bytes()).is_none(), "without {name}");
            let (before, after) = ANSWER.split_once(&format!("<{name}>")).unwrap();
            let (_, after) = after.split_once(&format!("</{name}>")).unwrap();
            for odd in ["", " ", "a b", "a&amp;b", "a<b/>"] {
                let odd = format!("{before}<{name}>{odd}</{name}>{after}");
                assert!(parse(odd.as_bytes()).is_none(), "{odd}");
            }
        }
        assert!(parse(&ANSWER.as_bytes()[..ANSWER.len() / 2]).is_none());
        assert!(parse(b"\xff<Credentials>").is_none());
    }

    #[test]
    fn a_request_names_the_tenant_as_its_tag() {
        let tenant = TenantId::parse(&"a".repeat(63)).unwrap();
        let form = form("arn:aws:iam::1:role/a+b", &tenant);
        let name = format!("RoleSessionName=skein-{}&", "a".repeat(58));
        assert!(form.contains(&name), "{form}");
        assert!(form.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%2Bb&"));
        let tag = format!(
            "Tags.member.1.Key=TenantId&Tags.member.1.Value={}",
            "a".repeat(63)
        );
        assert!(form.ends_with(&tag), "{form}");
    }
}
