//! Access rules and what tenants are served (rest-3x.md 6.1, 6.3).

use super::{bad, good, read};

#[test]
fn lists_are_texts_with_commas_or_lists() {
    let config = good(
        "[[resource.access_control]]\ncontext = '(.*)/a'\npermissions = '/p/a, /p/b'\nscopes = ['x', ' y ']\n\
         [[resource.access_control]]\ncontext = '(.*)/b'\nsecure = 'false'\nhttp_method = 'GET, HEAD'\npermissions = ['none']\n\
         cross_tenant = true\n\
         [resource_access_control]\nintrospect.permissions = ['/p/c,/p/d']\n\
         [tenant_context.rewrite]\nwebapps = ['/a/', '/b']\ncustom_webapps = '/c/, /d/'\n",
    );
    let [first, second, introspection] = &config.access_rules[..] else { panic!("{:?}", config.access_rules) };
    assert_eq!((first.line, first.is_secure, first.methods.as_str()), (Some(2), true, "all"));
    assert_eq!(
        (&first.permissions[..], &first.scopes[..]),
        (&["/p/a".into(), "/p/b".into()][..], &["x".into(), "y".into()][..])
    );
    assert_eq!((second.line, second.is_secure, second.methods.as_str()), (Some(6), false, "GET, HEAD"));
    assert!(second.permissions.is_empty() && second.is_cross_tenant && !first.is_cross_tenant);
    assert_eq!(introspection.permissions, ["/p/c", "/p/d"]);
    assert!(introspection.context.is_match("/t/a.com/oauth2/introspect") && introspection.is_secure);
    assert_eq!(config.tenant_paths, ["/a/", "/b", "/c/", "/d/"]);
    assert!(good("").access_rules.is_empty());
}

#[test]
fn what_an_operator_is_told() {
    let loaded = read(
        "[[resource.access_control]]\ncontext = 'a'\nhttp_method = 'GET'\npermissions = '/p/first'\n\
         [[resource.access_control]]\ncontext = 'a'\nhttp_method = 'get'\npermissions = '/p/second'\n\
         [[resource.access_control]]\ncontext = 'b'\nhttp_method = 'FETCH'\nallowed_auth_handlers = 'BasicAuthentication'\n\
         [tenant_context.rewrite]\ncustom_webapps = ['a/']\n",
    )
    .unwrap();
    let notes: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "warning: line 6: `resource.access_control`: the rule of line 2 has the same context and method and counts",
            "warning: line 11: `resource.access_control`: `http_method` names no method: the rule is for nothing",
            "note: line 12: `resource.access_control[2].allowed_auth_handlers` is accepted without effect: the old server's template \
             passed over it, and Basic and bearer are the ways there are",
            "warning: line 14: `tenant_context.rewrite.custom_webapps`: `a/` begins no path: a path begins with a slash",
        ]
    );
    let permissions: Vec<&String> = loaded.config.access_rules.iter().flat_map(|rule| &rule.permissions).collect();
    assert_eq!(permissions, ["/p/first"]);
}

#[test]
fn expressions_that_cannot_be_compiled_are_problems() {
    let rule = |context: &str| bad(&format!("[[resource.access_control]]\ncontext = '{context}'"));
    assert!(rule("(").contains("unclosed group"), "{}", rule("("));
    assert!(rule("(?!x)").contains("look-around"), "{}", rule("(?!x)"));
    assert!(bad("[[resource.access_control]]\nsecure = true").contains("a rule needs a `context`"));
    assert!(bad("[apim.oauth_config]\nallowed_scopes = ['[']").contains("unclosed character class"));
}
