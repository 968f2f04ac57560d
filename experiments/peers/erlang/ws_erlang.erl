%% ws-erlang: a process of the BEAM for each listener, and one, the room, that puts messages into the mailboxes of all.
-module(ws_erlang).
-export([start/0, accept/1]).
-behaviour(gen_event).
-export([init/1, handle_event/2, handle_call/2]).

%% ---- Limits ----

-define(BACKLOG, 4096). % connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
-define(MAX_HEAD, 8192). % bytes of a handshake; a longer one is answered 431
-define(MAX_MESSAGE, 65535). % bytes of a message, in one frame or in many
-define(INBOX, 16384). % bytes of one receive: more than MAX_HEAD, so that a head over it is seen as such
-define(MAX_UNSENT, 512 * 1024). % of one listener, in its mailbox; beyond, it is reset
-define(FRAME_COST, 512). % counted for a frame above its bytes, so that no mailbox has more than 1024 of them
-define(MAX_KEPT_BYTES, 64 * 1024 * 1024). % of all that is not whole, together; beyond, a connection is dropped
-define(HEAD_MS, 10000). % from accept(2) to the end of a handshake, and from the first byte of a message to its last
-define(LINGER_MS, 1000). % how long a peer may go on sending after the socket took the last frame
-define(PAUSE_MS, 50). % how long nothing is accepted after the last descriptor was taken
-define(STOP_MS, 1000). % how long what is in flight may take after SIGTERM
-define(QUIET_MS, 10). % between two looks at what is in flight

%% <netinet/tcp.h>: level, options, and where struct tcp_info has the length of the accept queue of a listener
-define(IPPROTO_TCP, 6).
-define(TCP_KEEPIDLE, 4).
-define(TCP_KEEPINTVL, 5).
-define(TCP_KEEPCNT, 6).
-define(TCP_INFO, 11).
-define(TCP_INFO_BYTES, 104).
-define(TCP_USER_TIMEOUT, 18).

%% ---- Counts: an array of atomic integers that all processes share ----

-define(ACCEPTED, 1).
-define(CLOSED, 2).
-define(SERVED, 3).
-define(DELIVERED, 4).
-define(BYTES_IN, 5).
-define(BYTES_OUT, 6).
-define(KEPT, 7).
-define(ENDED, 8). % 1: whoever accepted last has seen the end of the listener

count(Key, Change) -> atomics:add(persistent_term:get(counts), Key, Change).
get_count(Key) -> atomics:get(persistent_term:get(counts), Key).

count_error(Name) -> ets:update_counter(errors, Name, 1, {Name, 0}).
count_code(Code) -> count_error(integer_to_binary(Code)).

%% An error of the kernel, such as econnreset, by its usual name.
name_of(system_limit) -> <<"EMFILE">>; % no port is left for another descriptor
name_of(Error) -> string:uppercase(atom_to_binary(Error)).

line(Event, More) ->
    Errors = lists:join($,, [[$", Name, "\":", integer_to_list(N)] || {Name, N} <- ets:tab2list(errors)]),
    Keys = [
        {"accepted", ?ACCEPTED}, {"served", ?SERVED}, {"delivered", ?DELIVERED}, {"bytes_in", ?BYTES_IN},
        {"bytes_out", ?BYTES_OUT}
    ],
    Counts = [[$", Key, "\":", integer_to_list(get_count(At)), $,] || {Key, At} <- Keys],
    ["{\"event\":\"", Event, "\",", More, Counts, "\"errors\":{", Errors, "}}\n"].

%% ---- Protocol: the handshake ----

refusal(Status) -> ["HTTP/1.1 ", reason(Status), "\r\nContent-Length: 0\r\n\r\n"].

reason(400) -> "400 Bad Request\r\nConnection: close";
reason(404) -> "404 Not Found\r\nConnection: close";
reason(405) -> "405 Method Not Allowed\r\nAllow: GET\r\nConnection: close";
reason(408) -> "408 Request Timeout\r\nConnection: close";
reason(426) ->
    "426 Upgrade Required\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
reason(431) -> "431 Request Header Fields Too Large\r\nConnection: close";
reason(503) -> "503 Service Unavailable\r\nConnection: close";
reason(505) -> "505 HTTP Version Not Supported\r\nConnection: close".

switching(Key) ->
    Accept = base64:encode(sha1(<<Key/binary, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11">>)), % RFC 6455, section 1.3
    [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        Accept, "\r\n\r\n"
    ].

%% A handshake comes once in the life of a connection, so regular expressions are no cost here.
patterns() ->
    Token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+", % RFC 9110, section 5.6.2
    Compile = fun(Pattern) ->
        {ok, Compiled} = re:compile(Pattern, [dollar_endonly]),
        Compiled
    end,
    persistent_term:put(request_line, Compile(["^(", Token, ") ([!-~]+) HTTP/([0-9])\\.([0-9])$"])),
    persistent_term:put(field, Compile(["^(", Token, "):([\\t -~\\x80-\\xff]*)$"])),
    persistent_term:put(target, Compile("^((?i:http://)[^/?]+)?([^?]*)")),
    persistent_term:put(key, Compile("^[A-Za-z0-9+/]{21}[AQgw]==$")). % 16 bytes in base64

match(Text, Pattern) -> re:run(Text, persistent_term:get(Pattern), [{capture, all_but_first, binary}]).

%% The head that Input starts with: `incomplete`, {101, Key, Rest} or the status of the refusal.
parse_handshake(Input) ->
    case binary:match(Input, <<"\r\n\r\n">>) of
        nomatch when byte_size(Input) < ?MAX_HEAD -> incomplete;
        {At, _} when At + 4 =< ?MAX_HEAD ->
            <<Head:At/binary, "\r\n\r\n", Rest/binary>> = Input,
            case judge(binary:split(without_empty_line(Head), <<"\r\n">>, [global])) of
                {101, Key} -> {101, Key, Rest};
                Status -> Status
            end;
        _ -> 431
    end.

%% One empty line may stand before a request (RFC 9112, section 2.2).
without_empty_line(<<"\r\n", Head/binary>>) -> Head;
without_empty_line(Head) -> Head.

judge([RequestLine | Lines]) ->
    case {match(RequestLine, request_line), fields(Lines, #{})} of
        {nomatch, _} -> 400;
        {_, malformed} -> 400;
        {{match, [_, _, Major, _]}, _} when Major =/= <<"1">> -> 505;
        {{match, [Method | _]}, _} when Method =/= <<"GET">> -> 405;
        {{match, [_, Target, _, Minor]}, Fields} ->
            {match, [Authority, Path]} = match(Target, target),
            case Path =:= <<"/">> orelse (Path =:= <<>> andalso Authority =/= <<>>) of
                true -> judge_fields(Fields, Minor);
                false -> 404
            end
    end.

judge_fields(Fields, Minor) ->
    Value = fun(Name) -> maps:get(Name, Fields, <<>>) end,
    HasBody = << <<C>> || <<C>> <= Value(<<"content-length">>), C =/= $0 >> =/= <<>>
        orelse is_map_key(<<"transfer-encoding">>, Fields),
    IsUpgrade = has_item(Value(<<"connection">>), <<"upgrade">>) andalso has_item(Value(<<"upgrade">>), <<"websocket">>),
    IsRight = IsUpgrade andalso Minor =/= <<"0">> andalso Value(<<"sec-websocket-version">>) =:= <<"13">>,
    Key = Value(<<"sec-websocket-key">>),
    case not HasBody andalso IsRight andalso match(Key, key) of
        false when HasBody -> 400;
        false -> 426;
        nomatch -> 400;
        _ -> {101, Key}
    end.

%% The fields by name in small letters. Of one that stands twice the values are a list.
fields([], Fields) -> Fields;
fields([Line | Lines], Fields) ->
    case match(Line, field) of
        {match, [Name, Text]} ->
            Value = trim(Text),
            Add = fun(Known) -> <<Known/binary, ", ", Value/binary>> end,
            fields(Lines, maps:update_with(string:lowercase(Name), Add, Value, Fields));
        nomatch -> malformed
    end.

has_item(List, Item) ->
    lists:any(fun(Part) -> string:lowercase(trim(Part)) =:= Item end, binary:split(List, <<",">>, [global])).

trim(Text) -> re:replace(Text, "^[ \\t]+|[ \\t]+$", "", [global, {return, binary}]).

%% ---- SHA-1 (RFC 3174): the library that has it is a package of its own, and a handshake needs one of 60 bytes ----

sha1(Text) ->
    Bits = bit_size(Text),
    Zeros = (447 - Bits) band 511,
    blocks(<<Text/binary, 1:1, 0:Zeros, Bits:64>>, {16#67452301, 16#EFCDAB89, 16#98BADCFE, 16#10325476, 16#C3D2E1F0}).

blocks(<<Block:64/binary, Rest/binary>>, {A, B, C, D, E} = State) ->
    Words = lists:reverse([Word || <<Word:32>> <= Block]),
    {A1, B1, C1, D1, E1} = rounds(0, lists:reverse(expand(Words, 16)), State),
    Add = fun(X, Y) -> (X + Y) band 16#FFFFFFFF end,
    blocks(Rest, {Add(A, A1), Add(B, B1), Add(C, C1), Add(D, D1), Add(E, E1)});
blocks(<<>>, {A, B, C, D, E}) -> <<A:32, B:32, C:32, D:32, E:32>>.

expand(Words, 80) -> Words;
expand(Words, Count) ->
    Mixed = lists:nth(3, Words) bxor lists:nth(8, Words) bxor lists:nth(14, Words) bxor lists:nth(16, Words),
    expand([rotate(Mixed, 1) | Words], Count + 1).

rotate(Word, By) -> ((Word bsl By) bor (Word bsr (32 - By))) band 16#FFFFFFFF.

rounds(_, [], State) -> State;
rounds(I, [Word | Words], {A, B, C, D, E}) ->
    {Mixed, Constant} =
        if
            I < 20 -> {(B band C) bor ((bnot B) band D), 16#5A827999};
            I < 40 -> {B bxor C bxor D, 16#6ED9EBA1};
            I < 60 -> {(B band C) bor (B band D) bor (C band D), 16#8F1BBCDC};
            true -> {B bxor C bxor D, 16#CA62C1D6}
        end,
    Next = (rotate(A, 5) + (Mixed band 16#FFFFFFFF) + E + Constant + Word) band 16#FFFFFFFF,
    rounds(I + 1, Words, {Next, A, rotate(B, 30), C, D}).

%% ---- Protocol: frames (RFC 6455, section 5.2) ----

-define(CONTINUATION, 0).
-define(TEXT, 1).
-define(BINARY, 2).
-define(CLOSE, 8).
-define(PING, 9).
-define(PONG, 10).

frame(Opcode, Payload) when byte_size(Payload) < 126 -> <<1:1, 0:3, Opcode:4, (byte_size(Payload)), Payload/binary>>;
frame(Opcode, Payload) -> <<1:1, 0:3, Opcode:4, 126, (byte_size(Payload)):16, Payload/binary>>.

close_frame(none) -> frame(?CLOSE, <<>>);
close_frame(Code) -> frame(?CLOSE, <<Code:16>>).

%% The frame that Input starts with: `incomplete`, {error, Code} or {Opcode, IsFinal, Payload, Rest}. What is wrong in its
%% first bytes is seen before the others come. Known: bytes of the message that came before it; none: it is the first.
parse_frame(<<_:1, Reserved:3, _/bits>>, _) when Reserved =/= 0 -> {error, 1002};
parse_frame(<<_:4, Opcode:4, _/bits>>, _) when Opcode > 2, Opcode < 8; Opcode > 10 -> {error, 1002};
parse_frame(<<0:1, _:3, Opcode:4, _/bits>>, _) when Opcode >= ?CLOSE -> {error, 1002};
parse_frame(<<_:4, ?CONTINUATION:4, _/bits>>, none) -> {error, 1002};
parse_frame(<<_:4, Opcode:4, _/bits>>, Known) when Known =/= none, (Opcode =:= ?TEXT orelse Opcode =:= ?BINARY) ->
    {error, 1002};
parse_frame(<<_:4, ?BINARY:4, _/bits>>, _) -> {error, 1003};
parse_frame(<<_:8, 0:1, _/bits>>, _) -> {error, 1002}; % it is not masked
parse_frame(<<_:4, Opcode:4, _:1, Length:7, _/bits>>, _) when Opcode >= ?CLOSE, Length > 125 -> {error, 1002};
parse_frame(<<_:9, 126:7, Length:16, _/bits>>, _) when Length < 126 -> {error, 1002};
parse_frame(<<_:9, 127:7, Length:64, _/bits>>, _) when Length < 65536; Length >= 1 bsl 63 -> {error, 1002};
parse_frame(<<Head:8, 1:1, 126:7, Length:16, Rest/binary>>, Known) -> parse_payload(Head, Length, Rest, Known);
parse_frame(<<_:9, 127:7, _:64, _/bits>>, _) -> {error, 1009};
parse_frame(<<Head:8, 1:1, Length:7, Rest/binary>>, Known) when Length < 126 -> parse_payload(Head, Length, Rest, Known);
parse_frame(_, _) -> incomplete.

parse_payload(Head, Length, _, Known) when Head band 15 < ?CLOSE, Known =/= none, Known + Length > ?MAX_MESSAGE ->
    {error, 1009};
parse_payload(Head, Length, Input, _) ->
    case Input of
        <<Mask:4/binary, Payload:Length/binary, Rest/binary>> ->
            {Head band 15, Head >= 128, unmask(Payload, Mask), Rest};
        _ -> incomplete
    end.

%% Words of 32 bits: longer ones would be integers on the heap.
unmask(Payload, <<Mask:32>> = Key) ->
    Whole = byte_size(Payload) band bnot 3,
    Left = byte_size(Payload) - Whole,
    <<Words:Whole/binary, Last:Left/unit:8>> = Payload,
    <<LastMask:Left/unit:8, _/bits>> = Key,
    Unmasked = << <<(Word bxor Mask):32>> || <<Word:32>> <= Words >>,
    <<Unmasked/binary, (Last bxor LastMask):Left/unit:8>>.

%% Checks what follows Before, which is a character that has begun. Returns the character that has begun at its end.
check_text(Before, Bytes) ->
    case unicode:characters_to_binary(<<Before/binary, Bytes/binary>>) of
        {error, _, _} -> broken;
        {incomplete, _, Begun} ->
            case may_begin(Begun) of
                true -> binary:copy(Begun);
                false -> broken
            end;
        _ -> <<>>
    end.

%% Whether any character begins so (RFC 3629): no overlong form, no surrogate, none beyond U+10FFFF.
may_begin(<<C>>) -> C >= 16#C2 andalso C =< 16#F4;
may_begin(<<16#E0, C, _/binary>>) when C < 16#A0 -> false;
may_begin(<<16#ED, C, _/binary>>) when C >= 16#A0 -> false;
may_begin(<<16#F0, C, _/binary>>) when C < 16#90 -> false;
may_begin(<<16#F4, C, _/binary>>) when C >= 16#90 -> false;
may_begin(<<C, Rest/binary>>) ->
    may_begin(<<C>>) andalso lists:all(fun(Next) -> Next band 16#C0 =:= 16#80 end, binary_to_list(Rest)).

%% What a Close is answered with.
answer_close(<<>>) -> none;
answer_close(<<Code:16, Reason/binary>>) when
    Code >= 1000, Code =< 1003; Code >= 1007, Code =< 1014; Code >= 3000, Code =< 4999
->
    case check_text(<<>>, Reason) of
        <<>> -> Code;
        _ -> 1007
    end;
answer_close(_) -> 1002.

%% ---- Connection: a process, and the bytes that it keeps while it waits ----

%% Input: what is not whole. Message: payloads of a message whose end has not come, none: it has not begun. Begun: the
%% bytes of a character at its end. Due: when it must be complete. Unsent: counts what is in the mailbox, the room adds.
-record(connection, {
    socket, unsent, input = <<>>, message = none, length = none, begun = <<>>, due = infinity, kept = 0
}).

now_ms() -> erlang:monotonic_time(millisecond).
time_left(infinity) -> infinity;
time_left(Due) -> max(0, Due - now_ms()).

%% Receives until the handshake is whole.
shake_hands(#connection{socket = Socket, input = Input, due = Due} = Connection) ->
    case gen_tcp:recv(Socket, 0, time_left(Due)) of
        {ok, Bytes} ->
            count(?BYTES_IN, byte_size(Bytes)),
            All = <<Input/binary, Bytes/binary>>,
            case parse_handshake(All) of
                incomplete -> shake_hands(keep(Connection#connection{input = All}));
                {101, Key, Rest} -> join(keep(Connection#connection{input = <<>>}), Key, Rest);
                Status -> refuse(Connection, Status)
            end;
        {error, timeout} -> refuse(Connection, 408);
        {error, closed} -> ok;
        {error, Error} -> count_error(name_of(Error))
    end.

refuse(#connection{socket = Socket} = Connection, Status) ->
    count_code(Status),
    send(Connection, refusal(Status)),
    linger(Socket).

%% Enters the room before the answer leaves: a message in between would pass by a client that is open.
join(#connection{socket = Socket} = Connection, Key, Rest) ->
    Unsent = atomics:new(1, []),
    room ! {join, self(), Socket, Unsent},
    receive
        joined ->
            send(Connection, switching(Key)),
            read(Connection#connection{unsent = Unsent, due = infinity}, Rest);
        stopping -> refuse(Connection, 503)
    end.

%% Takes frames from the bytes, as long as they are whole. Answers to pings leave together.
read(Connection, Bytes) -> read(Connection, Bytes, []).

read(#connection{length = Length} = Connection, Bytes, Pongs) ->
    case parse_frame(Bytes, Length) of
        incomplete ->
            send(Connection, Pongs),
            await(begin_clock(keep(Connection#connection{input = binary:copy(Bytes)})));
        {error, Code} ->
            send(Connection, Pongs),
            fail(Connection, Code);
        {?PING, _, Payload, Rest} -> read(rest(Connection), Rest, [Pongs, frame(?PONG, Payload)]);
        {?PONG, _, _, Rest} -> read(rest(Connection), Rest, Pongs);
        {?CLOSE, _, Payload, _} ->
            send(Connection, Pongs),
            finish(Connection, answer_close(Payload));
        {_, IsFinal, Payload, Rest} ->
            send(Connection, Pongs),
            take(rest(Connection), IsFinal, Payload, Rest)
    end.

%% A frame is whole: if no message has begun, no clock runs.
rest(#connection{message = none} = Connection) -> Connection#connection{due = infinity};
rest(Connection) -> Connection.

begin_clock(#connection{due = infinity, input = Input, message = Message} = Connection) when
    Input =/= <<>>; Message =/= none
->
    Connection#connection{due = now_ms() + ?HEAD_MS};
begin_clock(Connection) -> Connection.

%% Takes a frame of a message. Each is checked when it comes.
take(#connection{message = Before, length = Length, begun = Begun} = Connection, IsFinal, Payload, Rest) ->
    case check_text(Begun, Payload) of
        broken -> fail(Connection, 1007);
        NewBegun when IsFinal, NewBegun =/= <<>> -> fail(Connection, 1007);
        _ when IsFinal, Before =:= none -> publish(Connection, Payload, Rest);
        _ when IsFinal -> publish(Connection, iolist_to_binary([Before, Payload]), Rest);
        NewBegun ->
            Message = case Before of none -> [Payload]; _ -> [Before, Payload] end,
            NewLength = case Length of none -> 0; _ -> Length end + byte_size(Payload),
            read(Connection#connection{message = Message, length = NewLength, begun = NewBegun}, Rest)
    end.

%% Frames the message once and hands it to the room; reads on when the room has sent it, so there it has one at most.
publish(Connection, Text, Rest) ->
    room ! {publish, self(), frame(?TEXT, Text)},
    New = Connection#connection{message = none, length = none, begun = <<>>, due = infinity},
    await_published(keep(New#connection{input = Rest})).

await_published(Connection) ->
    receive
        published -> read(Connection, Connection#connection.input);
        {frame, Frame} -> deliver(Connection, Frame, fun await_published/1);
        stop -> finish(Connection, 1001)
    end.

%% Waits for bytes of the client and for frames of the room.
await(#connection{socket = Socket} = Connection) ->
    case inet:setopts(Socket, [{active, once}]) of
        ok -> await_event(Connection);
        {error, _} -> ok % it is closed: the room has reset it, or the peer
    end.

await_event(#connection{socket = Socket, input = Input, due = Due} = Connection) ->
    receive
        {frame, Frame} -> deliver(Connection, Frame, fun await_event/1);
        {tcp, Socket, Bytes} ->
            count(?BYTES_IN, byte_size(Bytes)),
            read(Connection, <<Input/binary, Bytes/binary>>);
        {tcp_closed, Socket} -> ok;
        {tcp_error, Socket, Error} -> count_error(name_of(Error));
        stop -> finish(Connection, 1001)
    after time_left(Due) -> fail(Connection, 1008)
    end.

%% Sends all frames that wait in the mailbox by one writev(2), then goes on.
deliver(#connection{unsent = Unsent} = Connection, Frame, GoOn) ->
    {Frames, Count, Bytes} = more_frames([Frame], 1, byte_size(Frame)),
    case send(Connection, Frames) of
        ok ->
            count(?DELIVERED, Count),
            atomics:sub(Unsent, 1, Bytes + Count * ?FRAME_COST),
            GoOn(Connection);
        {error, closed} -> ok;
        {error, Error} -> count_error(name_of(Error))
    end.

more_frames(Frames, Count, Bytes) ->
    receive
        {frame, Frame} -> more_frames([Frames, Frame], Count + 1, Bytes + byte_size(Frame))
    after 0 -> {Frames, Count, Bytes}
    end.

%% The driver of sockets queues what the kernel does not take, up to 8 KiB; with more, the process waits. Where the peer
%% takes nothing for long the kernel ends the connection.
send(_, []) -> ok;
send(#connection{socket = Socket}, Frames) ->
    case gen_tcp:send(Socket, Frames) of
        ok -> count(?BYTES_OUT, iolist_size(Frames));
        Error -> Error
    end.

%% Ends it because of what the client has done.
fail(Connection, Code) ->
    count_code(Code),
    finish(Connection, Code).

%% Says why it ends, and leaves the room before: what comes behind a Close is no frame.
finish(#connection{socket = Socket} = Connection, Code) ->
    leave(Connection),
    inet:setopts(Socket, [{active, false}]),
    send(Connection, close_frame(Code)),
    linger(Socket).

leave(Connection) ->
    room ! {leave, self()},
    await_left(Connection).

%% What the room has sent before it heard of this stands in the mailbox, and goes out.
await_left(Connection) ->
    receive
        left -> ok;
        {frame, Frame} -> deliver(Connection, Frame, fun await_left/1)
    end.

%% Counts the bytes that the connection keeps. The process ends where all connections together would keep too many.
keep(#connection{input = Input, length = Length, kept = Before} = Connection) ->
    Kept = byte_size(Input) + case Length of none -> 0; _ -> Length end,
    New = Connection#connection{kept = Kept},
    put(kept, Kept), % to be forgotten wherever it ends
    case Kept =/= Before andalso atomics:add_get(persistent_term:get(counts), ?KEPT, Kept - Before) of
        All when is_integer(All), Kept > Before, All > ?MAX_KEPT_BYTES -> throw(dropped);
        _ -> New
    end.

%% Waits for the end of a connection that was answered for the last time. With input unread close(2) would send RST, and
%% the peer might lose that answer: so what it still sends is thrown away. The time starts when the driver has handed the
%% last byte to the socket.
linger(Socket) ->
    gen_tcp:shutdown(Socket, write), % fails only where the peer is gone: recv reports it
    linger(Socket, infinity).

linger(Socket, infinity) ->
    case inet:getstat(Socket, [send_pend]) of
        {ok, [{send_pend, Bytes}]} when Bytes > 0 ->
            case throw_away(Socket, ?QUIET_MS) of
                goes_on -> linger(Socket, infinity);
                ended -> ok
            end;
        _ -> linger(Socket, now_ms() + ?LINGER_MS)
    end;
linger(Socket, Due) ->
    case time_left(Due) > 0 andalso throw_away(Socket, time_left(Due)) of
        goes_on -> linger(Socket, Due);
        _ -> ok
    end.

throw_away(Socket, Ms) ->
    case gen_tcp:recv(Socket, 0, Ms) of
        {ok, Bytes} ->
            count(?BYTES_IN, byte_size(Bytes)),
            goes_on;
        {error, timeout} -> goes_on;
        {error, _} -> ended % closed, or reset: it has had its last answer
    end.

%% ---- The architecture: a process accepts a connection, starts the one that accepts the next, and serves ----

accept(Listener) ->
    case gen_tcp:accept(Listener) of
        {ok, Socket} ->
            count(?ACCEPTED, 1),
            spawn(?MODULE, accept, [Listener]),
            put(kept, 0),
            try
                shake_hands(#connection{socket = Socket, due = now_ms() + ?HEAD_MS})
            catch
                dropped -> count_error(<<"MAX_KEPT_BYTES">>)
            after
                room ! {leave, self()},
                count(?KEPT, -get(kept)),
                gen_tcp:close(Socket),
                count(?CLOSED, 1)
            end;
        {error, closed} -> count(?ENDED, 1);
        {error, Error} when % of one connection, or of its network
            Error =:= econnaborted; Error =:= enetdown; Error =:= eproto; Error =:= enoprotoopt; Error =:= ehostdown;
            Error =:= enonet; Error =:= ehostunreach; Error =:= eopnotsupp; Error =:= enetunreach
        ->
            accept(Listener);
        {error, Error} -> % emfile, enfile, enobufs, enomem
            count_error(name_of(Error)),
            timer:sleep(?PAUSE_MS),
            accept(Listener)
    end.

%% The room: it alone sends messages to all, so they are in one order. A frame of over 64 bytes lies outside of all heaps,
%% and a mailbox gets a reference to it. IsOpen: it has not stopped.
room(Listeners, IsOpen) ->
    receive
        {join, Pid, Socket, Unsent} when IsOpen ->
            Pid ! joined,
            room(Listeners#{Pid => {Socket, Unsent}}, IsOpen);
        {join, Pid, _, _} ->
            Pid ! stopping,
            room(Listeners, IsOpen);
        {leave, Pid} ->
            Pid ! left,
            room(maps:remove(Pid, Listeners), IsOpen);
        {publish, Pid, Frame} ->
            count(?SERVED, 1),
            Cost = byte_size(Frame) + ?FRAME_COST,
            Late = maps:fold(fun(Key, Listener, All) -> post(Key, Listener, Frame, Cost, All) end, [], Listeners),
            Pid ! published,
            room(maps:without(Late, Listeners), IsOpen);
        stop ->
            maps:foreach(fun(Pid, _) -> Pid ! stop end, Listeners),
            room(Listeners, false)
    end.

%% Puts a frame into a mailbox. A listener that has too much in it is reset: a Close would not reach it. Its process waits
%% in send, and hears that its socket is closed.
post(Pid, {Socket, Unsent}, Frame, Cost, Late) ->
    case atomics:add_get(Unsent, 1, Cost) of
        All when All =< ?MAX_UNSENT ->
            Pid ! {frame, Frame},
            Late;
        _ ->
            count_error(<<"MAX_UNSENT">>),
            inet:setopts(Socket, [{linger, {true, 0}}]), % close(2) sends RST, and the queue of the driver is thrown away
            catch port_close(Socket), % it may be closed already
            [Pid | Late]
    end.

options(Host) ->
    {ok, Address} = inet:parse_ipv4strict_address(Host),
    Raw = [{?TCP_KEEPIDLE, 60}, {?TCP_KEEPINTVL, 10}, {?TCP_KEEPCNT, 6}, {?TCP_USER_TIMEOUT, 30000}],
    [
        binary, {ip, Address}, {backlog, ?BACKLOG}, {reuseaddr, true}, {active, false}, {packet, raw},
        {buffer, ?INBOX}, {nodelay, true}, {keepalive, true}, {exit_on_close, false}, {show_econnreset, true}
        | [{raw, ?IPPROTO_TCP, Option, <<Value:32/native>>} || {Option, Value} <- Raw] % accepted sockets inherit these
    ].

%% A signal comes as an event.
init(Main) -> {ok, Main}.
handle_event(Signal, Main) -> Main ! Signal, {ok, Main}.
handle_call(_, Main) -> {ok, ok, Main}.

%% The machine waits for the end of what it starts with -s, so the server is a process of its own.
start() -> spawn(fun main/0).

main() ->
    [Host, PortText] = init:get_plain_arguments(),
    % The machine loads a module when it is first called, which must not be when no descriptor is left for its file.
    ok = code:ensure_modules_loaded([
        base64, binary, gen_tcp, inet, inet_tcp, lists, maps, re, string, timer, unicode, unicode_util
    ]),
    persistent_term:put(counts, atomics:new(8, [])),
    ets:new(errors, [named_table, public]),
    patterns(),
    process_flag(trap_exit, true), % what ends a port must not end this process
    case gen_tcp:listen(list_to_integer(PortText), options(Host)) of
        {ok, Listener} -> run(Listener, Host);
        {error, Error} ->
            Number = case Error of eacces -> 13; eaddrinuse -> 98; eaddrnotavail -> 99; _ -> 0 end,
            Said = ["Cannot bind ", Host, $:, PortText, ": ", name_of(Error), " (", integer_to_list(Number)],
            write(2, [Said, "), choose another --port (0: any) or --host\n"]),
            halt(1, [{flush, false}])
    end.

run(Listener, Host) ->
    ok = os:set_signal(sigchld, default), % ignored, the kernel would drop the CPU time of children
    [os:set_signal(Signal, handle) || Signal <- [sigterm, sigusr1]],
    gen_event:delete_handler(erl_signal_server, erl_signal_handler, []), % it would end the machine
    ok = gen_event:add_handler(erl_signal_server, ?MODULE, self()),
    {ok, Port} = inet:port(Listener),
    register(room, spawn(fun() -> room(#{}, true) end)),
    write(1, [
        "{\"event\":\"ready\",\"experiment\":\"ws-erlang\",\"port\":", integer_to_list(Port), ",\"pid\":", os:getpid(), "}\n"
    ]),
    Try = ["Listening. Try: new WebSocket(\"ws://", Host, $:, integer_to_list(Port), "/\")\n"],
    write(2, Try),
    spawn(?MODULE, accept, [Listener]),
    wait_for_stop(infinity),
    drain(Listener),
    room ! stop,
    see_off(now_ms() + ?STOP_MS),
    write(1, line("stopped", "")),
    halt(0, [{flush, false}]). % with it end the connections that wait for nothing

%% Waits for a signal, and for no longer than Ms. The second one that asks to stop does not come here: the launcher hears
%% it first.
wait_for_stop(Ms) ->
    receive
        sigusr1 ->
            Open = get_count(?ACCEPTED) - get_count(?CLOSED),
            write(1, line("stats", ["\"open\":", integer_to_list(Open), $,])),
            wait_for_stop(Ms);
        sigterm -> ok
    after Ms -> ok
    end.

%% Lets what has completed its handshake be accepted, since close(2) would reset it.
drain(Listener) ->
    {ok, [{raw, _, _, Info}]} = inet:getopts(Listener, [{raw, ?IPPROTO_TCP, ?TCP_INFO, ?TCP_INFO_BYTES}]),
    case Info of
        <<_:24/binary, 0:32/native, _/binary>> -> gen_tcp:close(Listener);
        _ ->
            timer:sleep(1),
            drain(Listener)
    end.

%% Waits until all that was accepted is counted and has closed, or its time is over.
see_off(Until) ->
    wait_for_stop(?QUIET_MS),
    AreGone = get_count(?ENDED) =:= 1 andalso get_count(?ACCEPTED) =:= get_count(?CLOSED),
    case AreGone orelse now_ms() >= Until of
        true -> ok;
        false -> see_off(Until)
    end.

%% Writes a line to a descriptor, and waits until it is written. A port ends by the first error, as on a full disk: so each
%% line has its own, and the error is counted.
write(Descriptor, Line) ->
    Port = open_port({fd, 0, Descriptor}, [out, binary]),
    catch port_command(Port, Line), % badarg, if it has ended meanwhile
    flush(Port).

flush(Port) ->
    case erlang:port_info(Port, queue_size) of
        {queue_size, 0} ->
            unlink(Port),
            port_close(Port);
        {queue_size, _} ->
            timer:sleep(1),
            flush(Port);
        undefined ->
            receive
                {'EXIT', Port, Error} -> count_error(name_of(Error))
            end
    end.
