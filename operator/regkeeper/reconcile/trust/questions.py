"""Ask an agent for its report, and believe nothing that is not proved to be this agent's answer to this question."""

import asyncio
import secrets
from ipaddress import ip_address

import aiohttp
from yarl import URL

from regkeeper.nodes.report import MAXIMUM_BYTES, Report, ReportRefusedError, decode_answer, question_headers
from regkeeper.reconcile.trust.agents import Agent
from regkeeper.resources.node_agent import AGENT_PORT

ANSWER_SECONDS = 5.0


class AgentSilentError(Exception):
    """No answer came."""


class Questioner:
    """Asks agents. The session is `distribution.open_session`'s, made for servers that one need not trust."""

    def __init__(self, session: aiohttp.ClientSession, *, port: int = AGENT_PORT) -> None:
        self._session = session
        self._port = port

    async def ask(self, agent: Agent, key: bytes) -> Report:
        """The agent's report about what its pod was told.

        Raises:
            AgentSilentError: it did not answer.
            ReportRefusedError: what answered is not believed; StaleReportError: it has not carried that out yet.
        """
        nonce = secrets.token_hex(16)
        address = ip_address(agent.address)
        url = URL.build(scheme="http", host=str(address), port=self._port, path="/report")
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._session.get(
                    url, headers=question_headers(key, nonce=nonce, pod_uid=agent.uid), allow_redirects=False
                ) as response,
            ):
                if response.status != 200:
                    raise ReportRefusedError(f"it answers {response.status}")
                body = await _read(response)
                headers = dict(response.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AgentSilentError(str(error) or "no answer in time") from error
        return decode_answer(
            key,
            body,
            headers,
            nonce=nonce,
            node=agent.node,
            pod_uid=agent.uid,
            generation=agent.told.generation if agent.told else 0,
        )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, of which no more is taken in than a report may have.

    Raises:
        ReportRefusedError: there is more.
    """
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MAXIMUM_BYTES:
            raise ReportRefusedError("it is too large")
    return bytes(body)
