use super::*;
use std::net::IpAddr;
use tokio::net::UnixListener;

/// What systemd 252 (Debian 12) sent for `alias.example`, an alias of `target.example`, first from packets, ..
const ASKED: &str = r#"{"parameters":{"state":"success","question":[{"class":1,"type":1,"name":"alias.example"},{"class":1,"type":28,"name":"alias.example"}],"answer":[{"rr":{"key":{"class":1,"type":5,"name":"alias.example"},"name":"target.example"},"raw":"BWFsaWFzB2V4YW1wbGUAAAUAAQAAADwAEAZ0YXJnZXQHZXhhbXBsZQA="},{"rr":{"key":{"class":1,"type":28,"name":"target.example"},"address":[32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,7]},"raw":"BnRhcmdldAdleGFtcGxlAAAcAAEAAAA8ABAgAQ24AAAAAAAAAAAAAAAH"},{"rr":{"key":{"class":1,"type":1,"name":"target.example"},"address":[203,0,113,9]},"raw":"BnRhcmdldAdleGFtcGxlAAABAAEAAAA8AATLAHEJ"}]},"continues":true}"#;
/// .. then from its cache.
const ALIAS: &str = r#"{"parameters":{"state":"success","question":[{"class":1,"type":1,"name":"target.example"},{"class":1,"type":28,"name":"target.example"}],"collectedQuestions":[{"class":1,"type":1,"name":"alias.example"},{"class":1,"type":28,"name":"alias.example"}],"answer":[{"rr":{"key":{"class":1,"type":28,"name":"target.example"},"address":[32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,7]},"raw":"BnRhcmdldAdleGFtcGxlAAAcAAEAAAA8ABAgAQ24AAAAAAAAAAAAAAAH"},{"rr":{"key":{"class":1,"type":1,"name":"target.example"},"address":[203,0,113,9]},"raw":"BnRhcmdldAdleGFtcGxlAAABAAEAAAA8AATLAHEJ"}]},"continues":true}"#;

fn heard(text: &str) -> Option<Heard> {
    message::read(text.as_bytes()).unwrap()
}

fn texts(heard: &Heard) -> (Vec<String>, Vec<String>) {
    let addresses = heard.addresses.iter().map(|address| IpAddr::from(*address).to_string());
    (heard.chain.iter().map(ToString::to_string).collect(), addresses.collect())
}

#[test]
fn the_first_question_leads_to_the_addresses() {
    for text in [ASKED, ALIAS] {
        let (chain, addresses) = texts(&heard(text).unwrap());
        assert_eq!(chain, ["alias.example", "target.example"]);
        assert_eq!(addresses, ["2001:db8::7", "203.0.113.9"]);
    }
}

#[test]
fn aliases_of_the_answer_are_followed_in_any_order() {
    let answer = r#"{"parameters":{"state":"success","question":[{"class":1,"type":1,"name":"A.test"}],"answer":[
        {"rr":{"key":{"class":1,"type":1,"name":"c.test"},"address":[203,0,113,7]}},
        {"rr":{"key":{"class":1,"type":1,"name":"other.test"},"address":[203,0,113,8]}},
        {"rr":{"key":{"class":1,"type":5,"name":"b.test"},"name":"c.test"}},
        {"rr":null},
        {"rr":{"key":{"class":1,"type":5,"name":"a.test"},"name":"b.test"}}]},"continues":true}"#;
    let (chain, addresses) = texts(&heard(answer).unwrap());
    assert_eq!(chain, ["a.test", "b.test", "c.test"]);
    assert_eq!(addresses, ["203.0.113.7"]);
}

#[test]
fn what_tells_no_address_is_passed_over() {
    for text in [
        r#"{"parameters":{"ready":true},"continues":true}"#,
        r#"{"parameters":{"state":"rcode-failure","rcode":5,"question":[{"class":1,"type":1,"name":"nope.test"},{"class":1,"type":28,"name":"nope.test"}]},"continues":true}"#,
        r#"{"parameters":{"state":"success","question":[{"class":1,"type":1,"name":"a.test"}],"answer":[]},"continues":true}"#,
        r#"{"parameters":{"state":"success","question":[{"class":1,"type":1,"name":"a.test"}],"answer":[{"rr":{"key":{"class":1,"type":1,"name":"a.test"},"address":[1,2]}}]}}"#,
    ] {
        assert_eq!(heard(text), None, "{text}");
    }
    assert!(message::read(br#"{"error":"org.varlink.service.PermissionDenied"}"#).is_err());
    assert!(message::read(b"not JSON").is_err());
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("monitor");
    let server = UnixListener::bind(&socket).unwrap();
    let mut listener = Listener::start(socket);
    for _ in 0..2 {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut request = vec![0; SUBSCRIBE.len()];
        stream.read_exact(&mut request).await.unwrap();
        assert_eq!(request, SUBSCRIBE);
        stream.write_all(br#"{"parameters":{"ready":true},"continues":true}"#).await.unwrap();
        stream.write_all(b"\0").await.unwrap();
        stream.write_all(ALIAS.as_bytes()).await.unwrap();
        stream.write_all(b"\0").await.unwrap();
        assert_eq!(Some(listener.next().await), heard(ALIAS));
    }
}
