"""A small model in each format."""

from __future__ import annotations

UAI = """MARKOV
3
2 2 3
3
1 0
2 0 1
2 1 2

2
 0.436 0.564

4
 0.128 0.872
 0.920 0.080

6
 0.210 0.333 0.457
 0.811 0.000 0.189
"""
BIF = """// two coins and their comparison
network unknown { property "made by hand"; }
variable coin { type discrete [ 2 ] { heads, tails }; }
variable weather {
  type discrete [ 3 ] { dry, "rain", snow };
  property position = (1, 2);
}
variable mood { type discrete[2]{good,bad}; }
probability ( coin ) { table 0.3, 0.7; }
probability ( weather ) { table 0.5, 0.25, 0.25; } /* not
very likely */
probability ( mood | coin, weather ) {
  default 0.5, 0.5;
  (heads, dry) 0.9, 0.1;
  (tails, snow) 0.0, 1.0;
}
"""
FG = """# a comment
2

2
3 7
2 3
4
0 0.5
1 1.5
3 2.0
5 0.25

1
7
3
3
0 1.0
1 2.0
2 3.0
"""
ALIST = """6 3
2 4
1 1 2 1 2 2
4 3 2
1 0
1 0
1 2
1 0
2 3
2 3
1 2 3 4
3 5 6
5 6
"""
CNF = """c a comment
p cnf 4 4
1 -2 3 0
-1 -4
0 2 2 4 0
3 -3 1 0
"""
WCNF = """c hard clauses have weight 9
p wcnf 4 6 9
9 1 -2 3 0
9 -1 -4 0
2 2 0
1 -2 4 0
3 -3 0
0 1 0
"""
XMLBIF = """<?xml version="1.0" encoding="US-ASCII"?>
<!DOCTYPE BIF [
  <!ELEMENT BIF ( NETWORK )*>
  <!ATTLIST BIF VERSION CDATA #REQUIRED>
]>
<BIF VERSION="0.3">
<NETWORK><NAME>Moods &amp; coins</NAME>
<DEFINITION>
  <FOR>mood</FOR><GIVEN>coin</GIVEN><GIVEN>weather</GIVEN>
  <TABLE><!-- good, bad --> 0.9 0.1  0.5 0.5
    0.8 0.2  0.6 0.4  0.5 0.5  0.3 0.7 </TABLE>
</DEFINITION>
<VARIABLE TYPE="nature"><NAME>coin</NAME><OUTCOME>heads</OUTCOME><OUTCOME>tails</OUTCOME></VARIABLE>
<VARIABLE TYPE="nature">
  <NAME>weather</NAME><OUTCOME>dry</OUTCOME><OUTCOME>wet</OUTCOME><OUTCOME>very cold</OUTCOME>
  <PROPERTY>position = (10, 20)</PROPERTY>
</VARIABLE>
<VARIABLE TYPE="nature"><NAME>mood</NAME><OUTCOME>good</OUTCOME><OUTCOME>bad</OUTCOME></VARIABLE>
<DEFINITION><FOR>coin</FOR><TABLE>0.3 0.7</TABLE></DEFINITION>
<DEFINITION><FOR>weather</FOR><TABLE>0.2 0.5 0.3</TABLE></DEFINITION>
</NETWORK>
</BIF>
"""
HUGIN = """net
{
  node_size = (80 40);  % as drawn
}
node coin
{
  label = "a \\"fair\\" coin; almost";
  states = ( "heads" "tails" );
}
discrete node weather
{
  position = (10 20);
  states = ("dry" "wet" "very cold");
}
node mood { states = ("good" "bad"); }
potential (mood | coin weather)
{
  data = (((0.9 0.1)(0.5 0.5)   % heads
           (0.8 0.2))
          ((0.6 0.4)(0.5 0.5)(0.3 0.7)));
}
potential (coin) { data = (0.3 0.7); }
potential (weather | ) { data = (0.2 0.5 0.3); }
"""
FILES = {".uai": UAI, ".bif": BIF, ".fg": FG, ".alist": ALIST, ".cnf": CNF}
FILES |= {".wcnf": WCNF, ".xmlbif": XMLBIF, ".net": HUGIN}
