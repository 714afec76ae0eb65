"""What the parts of an app say about each other."""

from __future__ import annotations

import pytest
from appspelling import app_of, told

LLM = 'llm f { provider: "fake" model: "m" }\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('prompt p { model: g template: "x" }', "2:19: prompt 'p': no llm is called 'g'"),
        ('chain c { steps: ["prompt:p"] }', "2:18: chain 'c': no prompt is called 'p'"),
        ('chain c { steps: ["llm:ff"] }', "2:18: chain 'c': no llm is called 'ff'; did you mean"),
        ('chain c { steps: ["chain:c"] }', "2:18: chain 'c' leads back to itself: c -> c"),
        (
            'chain a { steps: ["chain:b"] }\nchain b { step x { kind: chain target: a } }',
            "3:11: chain 'b' leads back to itself: b -> a -> b",
        ),
        (
            'llm g { provider: "fake" model: "n" base_url: "http://x.test" }',
            "2:47: llm 'g': provider 'fake' has another base_url in llm 'f'",
        ),
        (
            'llm g { provider: "openai" model: "x" cache: { ttl: 1 } }\n'
            'llm h { provider: "openai" model: "x" cache: { ttl: 2 } }',
            "3:46: llm 'h': model 'x' has other cache settings in llm 'g'",
        ),
    ],
)
def test_a_name_that_leads_nowhere_is_told(text: str, said: str) -> None:
    found = told(LLM + text)
    assert any(message.startswith(said) for message in found), found


def test_chains_may_stand_in_chains() -> None:
    text = 'chain a { steps: ["chain:b", "llm:f"] }\nchain b { steps: ["llm:f"] }'
    assert len(app_of(LLM + text).chains) == 2


def test_a_tower_of_chains_is_refused_before_it_is_climbed() -> None:
    tower = [f'chain c{n} {{ steps: ["chain:c{n + 1}", "chain:c{n + 1}"] }}' for n in range(40)]
    found = told(LLM + "\n".join(tower) + '\nchain c40 { steps: ["llm:f"] }')
    assert any("through more than 8 chains" in message for message in found)
    assert any("takes more than 100 steps" in message for message in found)
