"""Words that are names as well: as names of one word they would be found in texts about nobody. Ours."""

from __future__ import annotations

from cagul.text.endings import LATIN
from cagul.text.normal import fold_letters

_ENGLISH = """
a about above after again all also am an and any are as at be because been before being below between both
but by can could did do does doing down during each few for from further had has have having he her here hers
him his how i if in into is it its just me more most my no nor not now of off on once only or other our out
over own per same she should so some such than that the their them then there these they this those through
to too under until up us very was we were what when where which while who whom why will with would you your

abbey ace amber angel april archer art ash aurora autumn baker banks barber basil bay bell belle berry bill
birch bishop black blake blossom blue bolt bond booth bow brand brandy brook brooks brown buck bush butler
butter candy carpenter carter cash chance chase chef church clay coach coin cole cook cooper coral cotton
crystal daisy dale dawn day daylight dean deacon dear destiny diamond dot drew duke dusty earl early east
ebony eden ember england english eve ever faith fern field finch fisher flora flower ford forest fox frank
france french frost gage gale garden gay gene gift ginger glass glen gold good grace grant gray green grey
grove guy hall happy hardy harmony harper harry hart haven hazel heath heather heaven hill holiday holly
honest hope house hunt hunter ice iris island ivory ivy jack jade jasmine jasper jay jean jet jewel job jolly
joy judge july june justice kelly key king kit knight lake lamb lance lane lark laurel law lee lily little
long love lucky mace major maple march mark marsh mason may mayor melody mercy mercury merry miles mill
miller mint mister moon moor moss nick noble noel norm north nova oak ocean old olive opal orchid page paris
park parker parsley patience paul pearl peace penny pepper peg phoenix piper poet pope porter potter power
precious price prince priest queen rain rainbow raven ray read reed reef reese reeves regal rex rich rise
river rob robin rock rocky rod roman rose rowan royal ruby rue rush rusty ryder sage sailor saint salt sandy
satin scarlet scout season serenity seven shade shepherd short silver sky skip slate small smith snow song
sonny south sparrow spring star sterling stone storm stormy strong sue summer sun sunday sunny sunshine swan
sweet tab tanner taylor teal temple thorn tiger timber tom topaz treasure true turner usher vale valley
victory viola violet virtue wade walker ward water waters way weaver webb well wells west wheeler white wild
will wind winter wise wolf wood woods worth wren wright young zen
"""
COMMON_WORDS = frozenset(
    fold_letters(word)
    for word in [*_ENGLISH.split(), *(w for one in LATIN.values() for w in one.words.split())]
)
# surnames that follow a first name in a sentence about somebody else: is Anna young
ADJECTIVES = frozenset(
    """
    black blue bright brown cash early free gay good gray green grey happy hardy holy just king little
    long love may noble old poor precious proud red rich royal sharp short small smart strong sweet
    swift tall true white wild will wise young
    """.split()
)
