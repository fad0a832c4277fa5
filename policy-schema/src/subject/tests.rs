use super::*;

#[test]
fn users_by_name_or_number() {
    assert_eq!(User::parse("1000"), Ok(User::Id(1000)));
    assert_eq!(User::parse("www-data"), Ok(User::Name("www-data".into())));
    for text in ["", "a b", "a:b", "a/b", "www-*"] {
        assert_eq!(User::parse(text), Err(SubjectError::User(text.to_owned())));
    }
}

#[test]
fn units_say_their_type() {
    assert_eq!(parse_unit("getty@tty1.service").as_deref(), Ok("getty@tty1.service"));
    assert_eq!(parse_unit("nginx"), Err(SubjectError::UnitType("nginx".into())));
    assert_eq!(SubjectError::UnitType("nginx".into()).hint(), "write `nginx.service`");
    assert_eq!(parse_unit(".service"), Err(SubjectError::UnitType(".service".into())));
    assert_eq!(parse_unit("a/b.service"), Err(SubjectError::Unit("a/b.service".into())));
    assert_eq!(parse_unit("*.service"), Err(SubjectError::Unit("*.service".into())));
}

#[test]
fn an_unknown_user_is_nobody() {
    let subjects = Subjects { users: vec![User::Id(0), User::Name("root".into())], ..Subjects::default() };
    assert!(subjects.is_match_user(Some(0), None));
    assert!(subjects.is_match_user(None, Some("root")));
    assert!(!subjects.is_match_user(None, None));
    assert!(!subjects.is_match_user(Some(1), Some("Root")));
}
