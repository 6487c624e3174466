//! The dialects of a tenant that has stored none: an old server writes them at its first start, we do not (contract
//! users-ldap.md 3.6).

use super::LOCAL;
use claviger_store::claims::Claim;

/// Name in the local dialect, attribute.
const LOCAL_CLAIMS: &[(&str, &str)] = &[
    ("addresses", "addresses"),
    ("country", "country"),
    ("created", "createdDate"),
    ("department", "departmentNumber"),
    ("displayName", "displayName"),
    ("dob", "dateOfBirth"),
    ("emailaddress", "mail"),
    ("externalid", "externalId"),
    ("formattedName", "formattedName"),
    ("fullname", "cn"),
    ("gender", "gender"),
    ("givenname", "givenName"),
    ("honorificPrefix", "honoricPrefix"),
    ("honorificSuffix", "honoricSuffix"),
    ("im", "im"),
    ("lastname", "sn"),
    ("local", "local"),
    ("locality", "localityName"),
    ("location", "location"),
    ("middleName", "middleName"),
    ("mobile", "mobile"),
    ("modified", "lastModifiedDate"),
    ("nickname", "nickName"),
    ("organization", "organizationName"),
    ("otherphone", "otherPhone"),
    ("photourl", "photoUrl"),
    ("postalcode", "postalcode"),
    ("preferredLanguage", "preferredLanguage"),
    ("region", "region"),
    ("role", "role"),
    ("stateorprovince", "stateOrProvinceName"),
    ("streetaddress", "streetAddress"),
    ("telephone", "telephoneNumber"),
    ("timeZone", "timeZone"),
    ("title", "title"),
    ("url", "url"),
    ("userid", "scimId"),
    ("userType", "userType"),
    ("username", "uid"),
];

/// The dialect of OpenID Connect.
pub(super) const OPENID: &str = "http://wso2.org/oidc/claim";

/// Name in the dialect of OpenID Connect, name in the local one.
const OPENID_CLAIMS: &[(&str, &str)] = &[
    ("address", "addresses"),
    ("birthdate", "dob"),
    ("country", "country"),
    ("email", "emailaddress"),
    ("family_name", "lastname"),
    ("gender", "gender"),
    ("given_name", "givenname"),
    ("groups", "role"),
    ("locale", "local"),
    ("locality", "locality"),
    ("middle_name", "middleName"),
    ("name", "fullname"),
    ("nickname", "nickname"),
    ("phone_number", "telephone"),
    ("picture", "photourl"),
    ("postal_code", "postalcode"),
    ("preferred_username", "displayName"),
    ("profile", "url"),
    ("region", "region"),
    ("street_address", "streetaddress"),
    ("sub", "username"),
    ("updated_at", "modified"),
    ("website", "url"),
    ("zoneinfo", "timeZone"),
];

/// The claims of a dialect; none of one that nobody made.
pub(super) fn list(dialect: &str) -> Vec<Claim> {
    let uri = |name: &str| format!("{LOCAL}/{name}");
    let attribute = |name: &str| LOCAL_CLAIMS.iter().find(|(own, _)| *own == name).map(|(_, it)| (*it).to_owned());
    let local = |(name, _): &(&str, &str)| Claim { uri: uri(name), local: uri(name), attribute: attribute(name) };
    let openid = |(name, local): &(&str, &str)| Claim {
        uri: (*name).to_owned(),
        local: uri(local),
        attribute: attribute(local),
    };
    match dialect {
        LOCAL => LOCAL_CLAIMS.iter().map(local).collect(),
        OPENID => OPENID_CLAIMS.iter().map(openid).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_claim_of_openid_stands_for_a_local_one() {
        let claims = list(OPENID);
        assert_eq!(claims.len(), OPENID_CLAIMS.len());
        assert!(claims.iter().all(|claim| claim.attribute.is_some()), "{claims:?}");
    }
}
