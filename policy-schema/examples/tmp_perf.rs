use policy_schema::*;
struct L(Vec<u8>);
impl ReadList for L { fn read(&self, p: &std::path::Path) -> std::io::Result<Vec<ListFile>> { Ok(vec![ListFile{path:p.into(), bytes: Box::new(self.0.clone())}]) } }
fn main(){
  for f in ["plain","hosts","adblock"] {
  let mut s=String::new();
  for i in 0..1_000_000 { match f { "plain"=>s.push_str(&format!("host{i}.sub{}.example{}.com\n", i%97, i%1013)), "hosts"=>s.push_str(&format!("0.0.0.0 host{i}.sub{}.example{}.com\n", i%97, i%1013)), _=>s.push_str(&format!("||host{i}.sub{}.example{}.com^\n", i%97, i%1013)) } }
  let l=L(s.into_bytes());
  let t=std::time::Instant::now();
  let src=Source{path:"a.yaml".into(), text:"version: 1\nrules: [{name: a, action: deny, to: {lists: [x]}}]".into()};
  let (p,w)=Policy::parse(&src,&l).unwrap();
  let e=t.elapsed();
  let t=std::time::Instant::now();
  let n: usize = p.rules()[0].names().map(|n| n.name.len()).sum();
  let rss=std::fs::read_to_string("/proc/self/status").unwrap().lines().find(|l|l.starts_with("VmRSS")).unwrap().to_string();
  println!("{f}: parse {:?}, iterate {:?}, {} names {n} bytes, {} warnings {rss}", e, t.elapsed(), p.rules()[0].names().count(), w.len());
  }
}
