"""An OpenID provider as a process: authlib's own server on Flask.

python -m tests.app.access.openid_provider prints its address. The page to sign in at has a field for the user's name:
whoever is in `ROLES` is let in.
"""

import warnings
from dataclasses import dataclass
from wsgiref.simple_server import WSGIRequestHandler, make_server

warnings.simplefilter("ignore")  # Of libraries at import: this is a process of its own.

from authlib.integrations.flask_oauth2 import AuthorizationServer  # noqa: E402
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, grants  # noqa: E402
from authlib.oauth2.rfc7636 import CodeChallenge  # noqa: E402
from authlib.oidc.core import UserInfo  # noqa: E402
from authlib.oidc.core.grants import OpenIDCode  # noqa: E402
from flask import Flask, Response, jsonify, request  # noqa: E402
from joserfc.jwk import RSAKey  # noqa: E402

from tests.app.access.openid_names import CLIENT, SECRET  # noqa: E402

ROLES = {"olga": ["staff", "mill-quality"], "otto": ["staff"], "oskar": ["mill-admins", "mill-quality"]}
KEY = RSAKey.generate_key(2048, parameters={"kid": "one", "use": "sig", "alg": "RS256"})
CODES: dict[str, "Code"] = {}


class Client(ClientMixin):
    """The desk."""

    client_id = CLIENT
    token_endpoint_auth_method = "client_secret_basic"

    def get_client_id(self):
        return CLIENT

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        return scope

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri.endswith("/sign-in/openid/back")

    def check_client_secret(self, client_secret):
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_basic"

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type == "authorization_code"


@dataclass
class Code(AuthorizationCodeMixin):
    """One that was given out."""

    code: str
    user: str
    scope: str
    redirect_uri: str
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None

    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope

    def get_nonce(self):
        return self.nonce

    def get_auth_time(self):
        return None

    def get_acr(self):
        return None

    def get_amr(self):
        return None


class Grant(grants.AuthorizationCodeGrant):
    """A code for a token."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

    def save_authorization_code(self, code, request):
        said = request.payload.data
        CODES[code] = Code(
            code,
            request.user,
            request.payload.scope,
            request.payload.redirect_uri,
            said.get("nonce"),
            said.get("code_challenge"),
            said.get("code_challenge_method"),
        )

    def query_authorization_code(self, code, client):
        return CODES.get(code)

    def delete_authorization_code(self, authorization_code):
        del CODES[authorization_code.code]

    def authenticate_user(self, authorization_code):
        return authorization_code.user


class WithIdToken(OpenIDCode):
    """The token says who the user is."""

    def exists_nonce(self, nonce, request):
        return any(each.nonce == nonce for each in CODES.values())

    def get_jwt_config(self, grant=None, client=None):
        return {"key": KEY, "alg": "RS256", "iss": issuer(), "exp": 300}

    def generate_user_info(self, user, scope):
        return UserInfo(sub=f"id-of-{user}", preferred_username=user, groups=ROLES[user])


app = Flask("provider")
server = AuthorizationServer(
    app, query_client=lambda name: Client() if name == CLIENT else None, save_token=lambda *_: None
)
server.register_grant(Grant, [WithIdToken(require_nonce=True), CodeChallenge(required=True)])


def issuer() -> str:
    return f"http://127.0.0.1:{app.config['PORT']}"


@app.get("/.well-known/openid-configuration")
def described() -> Response:
    return jsonify(
        issuer=issuer(),
        authorization_endpoint=f"{issuer()}/authorize",
        token_endpoint=f"{issuer()}/token",
        jwks_uri=f"{issuer()}/keys",
    )


@app.get("/keys")
def keys() -> Response:
    return jsonify(keys=[KEY.as_dict(private=False)])


@app.route("/authorize", methods=["GET", "POST"])
def authorize() -> Response | str:
    if request.method == "GET":
        server.get_consent_grant(end_user=None)
        return '<form method="post"><label>User<input name="user"></label><button>Continue</button></form>'
    user = request.form["user"]
    return server.create_authorization_response(grant_user=user if user in ROLES else None)


@app.post("/token")
def token() -> Response:
    return server.create_token_response()


class Silent(WSGIRequestHandler):
    """Says nothing of requests."""

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    with make_server("127.0.0.1", 0, app, handler_class=Silent) as listening:
        app.config["PORT"] = listening.server_port
        print(issuer(), flush=True)
        listening.serve_forever()
