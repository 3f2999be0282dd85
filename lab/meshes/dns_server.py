"""A DNS server as Cloud Map's is: a name of one service, multivalue answers, and a TTL that resolvers keep to."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

# how many addresses an answer has at most (Cloud Map's API reference, RoutingPolicy MULTIVALUE)
MOST = 8
SOA = "ns.lab. hostmaster.lab. 1 7200 900 1209600 {ttl}"


def answer(query: dns.message.Message, name: dns.name.Name, addresses: Sequence[str], ttl: int) -> dns.message.Message:
    """The answer to a query where `name` has these addresses: some of them at random where there are more than eight.

    Another name does not exist, nor does this one without addresses; a type that it does not have is an empty answer.
    How long that is true is in the SOA record.
    """
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    (question,) = query.question
    there = question.name == name and addresses
    if there and question.rdtype == dns.rdatatype.A:
        chosen = random.sample(addresses, min(MOST, len(addresses)))  # nosec B311
        response.answer.append(dns.rrset.from_text_list(name, ttl, "IN", "A", chosen))
    else:
        if not there:
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.authority.append(dns.rrset.from_text(name.parent(), ttl, "IN", "SOA", SOA.format(ttl=ttl)))
    return response


class DnsServer(asyncio.DatagramProtocol):
    """Answers over UDP with what `addresses` gives at that moment.

    ttl: seconds; on_answer: gets the query's type and the addresses of each answer
    """

    def __init__(
        self, name: str, ttl: int, addresses: Callable[[], Sequence[str]], on_answer: Callable[[str, list[str]], None]
    ) -> None:
        self._name, self._ttl, self._addresses, self._on_answer = dns.name.from_text(name), ttl, addresses, on_answer

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        try:
            query = dns.message.from_wire(data)
            response = answer(query, self._name, self._addresses(), self._ttl)
        except (dns.exception.DNSException, ValueError):
            return  # no query, or of more than one question: a server need not answer that
        self._transport.sendto(response.to_wire(), address)
        answered = [str(each) for rrset in response.answer for each in rrset]
        self._on_answer(dns.rdatatype.to_text(query.question[0].rdtype), answered)

    async def serve(self, address: str, port: int) -> None:
        """Runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(address, port))
        try:
            await asyncio.Event().wait()
        finally:
            transport.close()
