//! Cross-origin requests of browsers, judged by a bucket's CORS rules.
//!
//! What lives here: rules, the match, the headers of the answer. What must not: where rules come from,
//! whether a request is allowed at all. Invariant: a page of another origin is told something only if one
//! rule allows its origin, its method and all of its headers together.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// One rule of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsRule {
    /// Origins, each with one star at most.
    pub origins: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
    /// Names of request headers in any case, each with one star at most.
    pub headers: Vec<String>,
    /// Names of response headers that a page may read.
    pub exposed: Vec<String>,
    /// How long a browser may remember the answer, seconds.
    pub max_age_seconds: Option<u64>,
}

/// What a page wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsQuestion {
    /// The header `Origin`.
    pub origin: String,
    /// The method of the request that the page sends or wants to send.
    pub method: String,
    /// Names of its headers, lower case; only known of a preflight.
    pub headers: Vec<String>,
}

/// What a browser is told that never asked for anything that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoQuestion(pub &'static str);

/// Most header names that a preflight may ask for.
const REQUEST_HEADERS_MAX: usize = 100;

impl CorsQuestion {
    /// What an `OPTIONS` request asks.
    ///
    /// # Errors
    ///
    /// It has no origin or no method, or names what is none.
    pub fn preflight(headers: &HeaderMap) -> Result<Self, NoQuestion> {
        let origin = text(headers, &header::ORIGIN).ok_or(NoQuestion(
            "Insufficient information. Origin request header needed.",
        ))?;
        let method = text(headers, &header::ACCESS_CONTROL_REQUEST_METHOD)
            .filter(|method| ["GET", "HEAD", "PUT", "POST", "DELETE"].contains(&method.as_str()))
            .ok_or(NoQuestion("Invalid Access-Control-Request-Method."))?;
        let names = text(headers, &header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
        let mut asked = Vec::new();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let is_name = HeaderName::try_from(name).is_ok();
            if !is_name || asked.len() == REQUEST_HEADERS_MAX {
                return Err(NoQuestion("Invalid Access-Control-Request-Headers."));
            }
            asked.push(name.to_ascii_lowercase());
        }
        Ok(Self {
            origin,
            method,
            headers: asked,
        })
    }

    /// What a request of another origin asks; `None` for one that says no origin.
    pub fn of_request(method: &str, headers: &HeaderMap) -> Option<Self> {
        Some(Self {
            origin: text(headers, &header::ORIGIN)?,
            method: method.to_owned(),
            headers: Vec::new(),
        })
    }

    /// The headers of the answer by the first rule that allows all that is asked.
    pub fn answer(&self, rules: &[CorsRule], is_preflight: bool) -> Option<HeaderMap> {
        let (rule, pattern) = rules
            .iter()
            .find_map(|rule| rule.allows(self).zip(Some(rule)))
            .map(|(pattern, rule)| (rule, pattern))?;
        let mut answer = HeaderMap::new();
        let is_anybody = pattern == "*";
        let origin = if is_anybody { "*" } else { self.origin.as_str() };
        answer.insert(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_str(origin).ok()?,
        );
        if !is_anybody {
            let yes = HeaderValue::from_static("true");
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        insert_list(&mut answer, header::ACCESS_CONTROL_ALLOW_METHODS, &rule.methods);
        insert_list(&mut answer, header::ACCESS_CONTROL_EXPOSE_HEADERS, &rule.exposed);
        if is_preflight {
            insert_list(&mut answer, header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers);
            if let Some(seconds) = rule.max_age_seconds {
                answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
            }
        }
        // An answer for one page must not be kept for another.
        answer.insert(
            header::VARY,
            HeaderValue::from_static("Origin, Access-Control-Request-Headers, Access-Control-Request-Method"),
        );
        Some(answer)
    }
}

impl CorsRule {
    /// The pattern of the origin, if everything else is allowed too.
    fn allows(&self, question: &CorsQuestion) -> Option<&str> {
        let has_method = self.methods.contains(&question.method);
        let has_headers = question.headers.iter().all(|name| {
            self.headers
                .iter()
                .any(|pattern| matches(&pattern.to_ascii_lowercase(), name))
        });
        let pattern = self
            .origins
            .iter()
            .find(|pattern| matches(pattern, &question.origin))?;
        (has_method && has_headers).then_some(pattern)
    }
}

/// One star stands for any text. A second one is an ordinary character, which no origin has.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => text.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value
            .to_str()
            .ok()
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
        (_, _) => None,
    }
}

/// Names come from a document of the store: what is no header value is left out.
fn insert_list(headers: &mut HeaderMap, name: HeaderName, list: &[String]) {
    if let Ok(value) = HeaderValue::from_str(&list.join(", "))
        && !list.is_empty()
    {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(origins: &[&str], headers: &[&str]) -> CorsRule {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        CorsRule {
            origins: owned(origins),
            methods: owned(&["GET", "PUT"]),
            headers: owned(headers),
            exposed: owned(&["ETag"]),
            max_age_seconds: Some(60),
        }
    }

    fn preflight(pairs: &[(&'static str, &'static str)]) -> Result<CorsQuestion, NoQuestion> {
        let headers = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        CorsQuestion::preflight(&headers)
    }

    fn ask(
        rules: &[CorsRule],
        origin: &'static str,
        method: &'static str,
        headers: &'static str,
    ) -> Option<HeaderMap> {
        let question = preflight(&[
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", headers),
        ]);
        question.unwrap().answer(rules, true)
    }

    #[test]
    fn one_rule_has_to_allow_everything() {
        let rules = [
            rule(&["https://a.example"], &["x-amz-*", "Content-Type"]),
            rule(&["https://*.b.example"], &[]),
        ];
        let answer = ask(&rules, "https://a.example", "PUT", "Content-Type, x-amz-date").unwrap();
        assert_eq!(answer["access-control-allow-origin"], "https://a.example");
        assert_eq!(answer["access-control-allow-credentials"], "true");
        assert_eq!(answer["access-control-allow-headers"], "content-type, x-amz-date");
        assert_eq!(answer["access-control-allow-methods"], "GET, PUT");
        assert_eq!(answer["access-control-expose-headers"], "ETag");
        assert_eq!(answer["access-control-max-age"], "60");
        assert!(ask(&rules, "https://a.example", "DELETE", "").is_none());
        assert!(ask(&rules, "https://a.example", "PUT", "authorization").is_none());
        assert!(ask(&rules, "https://a.example.evil", "PUT", "").is_none());
        assert!(ask(&rules, "http://a.example", "PUT", "").is_none());
        assert!(ask(&rules, "https://x.b.example", "PUT", "").is_some());
        assert!(ask(&rules, "https://x.b.example", "PUT", "content-type").is_none());
        assert!(ask(&rules, "https://b.example", "PUT", "").is_none());
    }

    #[test]
    fn everybody_is_not_told_to_send_credentials() {
        let answer = ask(
            &[rule(&["*"], &["*"])],
            "https://any.example",
            "GET",
            "authorization",
        )
        .unwrap();
        assert_eq!(answer["access-control-allow-origin"], "*");
        assert!(!answer.contains_key("access-control-allow-credentials"));
    }

    #[test]
    fn a_preflight_says_what_it_wants() {
        assert!(preflight(&[]).is_err());
        assert!(preflight(&[("origin", "https://a")]).is_err());
        assert!(
            preflight(&[
                ("origin", "https://a"),
                ("access-control-request-method", "PATCH")
            ])
            .is_err()
        );
        let bad = [
            ("origin", "https://a"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "a b"),
        ];
        assert!(preflight(&bad).is_err());
    }

    #[test]
    fn a_star_does_not_count_a_text_twice() {
        assert!(matches("ab*ba", "abba") && matches("*", "") && !matches("ab*ba", "aba"));
    }
}
