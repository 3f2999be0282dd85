"""The lab's DNS server: what it answers, and that a resolver of the field understands it."""

import asyncio

import dns.asyncquery
import dns.asyncresolver
import dns.message
import dns.name
import dns.rcode
import dns.resolver
import pytest

from lab.meshes.dns_server import DnsServer, answer
from lab.parts.processes import free_address

NAME = dns.name.from_text("shop.lab.local")
PORT = 5300


def asked(name: str, addresses: list[str], kind: str = "A") -> dns.message.Message:
    return answer(dns.message.make_query(name, kind), NAME, addresses, ttl=2)


def test_an_answer_has_the_addresses_and_the_ttl() -> None:
    """Every address is in the answer, which is true for the TTL."""
    (rrset,) = asked("shop.lab.local", ["127.1.1.1", "127.1.1.2"]).answer
    assert {str(each) for each in rrset} == {"127.1.1.1", "127.1.1.2"}
    assert rrset.ttl == 2


def test_an_answer_has_eight_addresses_at_most() -> None:
    """Of more than eight, eight are drawn anew for each answer."""
    addresses = [f"127.1.1.{number}" for number in range(1, 13)]
    answers = [frozenset(str(each) for each in asked("shop.lab.local", addresses).answer[0]) for _ in range(200)]
    assert {len(each) for each in answers} == {8}
    assert frozenset.union(*answers) == set(addresses)
    assert len(set(answers)) > 1


@pytest.mark.parametrize(("name", "addresses"), [("other.lab.local", ["127.1.1.1"]), ("shop.lab.local", [])])
def test_what_is_not_there_does_not_exist(name: str, addresses: list[str]) -> None:
    """Another name does not exist, nor does a service without instances; the SOA record says for how long."""
    response = asked(name, addresses)
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert response.answer == [] and response.authority[0].ttl == 2


def test_a_type_that_is_not_there_is_an_empty_answer() -> None:
    """The name has no IPv6 address, which is no reason to believe that it does not exist."""
    response = asked("shop.lab.local", ["127.1.1.1"], "AAAA")
    assert response.rcode() == dns.rcode.NOERROR and response.answer == []


def test_a_resolver_asks_it() -> None:
    """It answers a resolver over UDP with the current addresses, and keeps running after a packet that is no query."""
    reported: list[tuple[str, list[str]]] = []
    addresses = ["127.1.1.1"]

    async def ask() -> list[list[str]]:
        place = free_address()
        server = DnsServer("shop.lab.local", 2, lambda: addresses, lambda kind, found: reported.append((kind, found)))
        serving = asyncio.ensure_future(server.serve(place, PORT))
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [place], PORT
        found = []
        try:
            for listed in (["127.1.1.1"], ["127.1.1.2"], []):
                addresses[:] = listed
                transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    asyncio.DatagramProtocol, remote_addr=(place, PORT)
                )
                transport.sendto(b"no query")
                transport.close()
                try:
                    found.append([str(each) for each in await resolver.resolve("shop.lab.local", "A")])
                except dns.resolver.NXDOMAIN:
                    found.append([])
        finally:
            serving.cancel()
            await asyncio.wait([serving])
        return found

    assert asyncio.run(ask()) == [["127.1.1.1"], ["127.1.1.2"], []]
    assert reported == [("A", ["127.1.1.1"]), ("A", ["127.1.1.2"]), ("A", [])]
