%% erlang-tcp: a process of the BEAM for each connection, which receives and sends as if it alone were there.
-module(erlang_tcp).
-export([start/0, accept/1]).
-behaviour(gen_event).
-export([init/1, handle_event/2, handle_call/2]).

%% ---- Limits ----

-define(BACKLOG, 4096). % connections that wait for accept(2); the kernel cuts it to net.core.somaxconn
-define(MAX_HEAD, 8192). % bytes of a request head; a longer one is answered 431
-define(INBOX, 16384). % bytes of one receive: more than MAX_HEAD, so that a head over it is seen as such
-define(MAX_KEPT_BYTES, 64 * 1024 * 1024). % of all connections, partial heads and unsent answers; beyond, one is dropped
-define(ONE_ANSWER, 128). % bytes: a single answer is shorter, and is a constant
-define(MAX_WORK_US, 100000).
-define(HEAD_MS, 10000). % from the first byte of a head to its last
-define(LINGER_MS, 1000). % how long a peer may go on sending after the socket took the last answer
-define(PAUSE_MS, 50). % how long nothing is accepted after the last descriptor was taken
-define(STOP_MS, 1000). % how long what is in flight may take after SIGTERM
-define(QUIET_MS, 10). % after SIGTERM: two such stretches without a byte, and nothing is in flight
-define(CALIBRATION_MS, 40). % CPU time that is measured once, to know how long a loop takes
-define(CALIBRATIONS, 5).

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
-define(BYTES_IN, 4).
-define(BYTES_OUT, 5).
-define(IN_FLIGHT, 6).
-define(KEPT, 7).
-define(STOPPING, 8).
-define(ENDED, 9). % 1: whoever accepted last has seen the end of the listener

count(Key, Change) -> atomics:add(persistent_term:get(counts), Key, Change).
get_count(Key) -> atomics:get(persistent_term:get(counts), Key).
is_stopping() -> get_count(?STOPPING) > 0.

count_error(Name) -> ets:update_counter(errors, Name, 1, {Name, 0}).
count_status(200) -> count(?SERVED, 1);
count_status(Status) -> count_error(integer_to_binary(Status)).

%% An error of the kernel, such as econnreset, by its usual name.
name_of(system_limit) -> <<"EMFILE">>; % no port is left for another descriptor
name_of(Error) -> string:uppercase(atom_to_binary(Error)).

line(Event, More) ->
    Errors = lists:join($,, [[$", Name, "\":", integer_to_list(N)] || {Name, N} <- ets:tab2list(errors)]),
    Keys = [{"accepted", ?ACCEPTED}, {"served", ?SERVED}, {"bytes_in", ?BYTES_IN}, {"bytes_out", ?BYTES_OUT}],
    Counts = [[$", Key, "\":", integer_to_list(get_count(At)), $,] || {Key, At} <- Keys],
    ["{\"event\":\"", Event, "\",", More, Counts, "\"errors\":{", Errors, "}}\n"].

%% ---- Protocol: the minimal HTTP/1.1 that all experiments speak ----

answer(200, Closing) ->
    <<"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n", Closing/binary, "\r\nHello World">>;
answer(Status, Closing) ->
    Line = reason(Status),
    <<"HTTP/1.1 ", Line/binary, "\r\nContent-Length: 0\r\n", Closing/binary, "\r\n">>.

reason(400) -> <<"400 Bad Request">>;
reason(404) -> <<"404 Not Found">>;
reason(405) -> <<"405 Method Not Allowed\r\nAllow: GET">>;
reason(408) -> <<"408 Request Timeout">>;
reason(431) -> <<"431 Request Header Fields Too Large">>;
reason(505) -> <<"505 HTTP Version Not Supported">>.

%% Constants: a term of persistent_term is not copied to the process that reads it.
make_answers() ->
    Statuses = [200, 400, 404, 405, 408, 431, 505],
    Make = fun(Closing) -> maps:from_list([{Status, answer(Status, Closing)} || Status <- Statuses]) end,
    persistent_term:put(kept, Make(<<>>)),
    persistent_term:put(last, Make(<<"Connection: close\r\n">>)).

answer_to(Status, IsLast) ->
    Answers = persistent_term:get(case IsLast of true -> last; false -> kept end),
    maps:get(Status, Answers).

%% Parses the head that Input starts with: `incomplete`, or {Status, WorkUs, KeepAlive, Rest}. What stands behind a
%% request that is refused is thrown away, since the connection will close.
parse_head(<<"\r\n", Input/binary>>) -> parse_head(Input, ?MAX_HEAD - 2); % one empty line (RFC 9112, section 2.2)
parse_head(Input) -> parse_head(Input, ?MAX_HEAD).

parse_head(Input, Most) ->
    case parse_lines(Input) of
        {_, _, _, Rest} = Request when byte_size(Input) - byte_size(Rest) =< Most -> Request;
        _ -> % rare: its end has not come, it is too long, or malformed
            case binary:match(Input, <<"\r\n\r\n">>) of
                nomatch when byte_size(Input) < Most -> incomplete;
                {At, _} when At + 4 =< Most -> {400, 0, false, <<>>};
                _ -> {431, 0, false, <<>>}
            end
    end.

parse_lines(<<"GET / HTTP/1.1\r\n", Fields/binary>>) -> parse_fields(Fields, 200, 0, true);
parse_lines(Input) ->
    case re:run(Input, persistent_term:get(request_line), [{capture, all_but_first, binary}]) of
        {match, [Method, Target, Major, Minor, Fields]} ->
            {Status, WorkUs} = judge(Method, Target, Major),
            parse_fields(Fields, Status, WorkUs, Major =:= <<"1">> andalso Minor =/= <<"0">>);
        nomatch -> malformed
    end.

request_line() ->
    Token = "[!#$%&'*+.^_`|~0-9A-Za-z-]++", % RFC 9110, section 5.6.2
    {ok, Compiled} = re:compile(["^(", Token, ") ([!-~]++) HTTP/([0-9])\\.([0-9])\r\n(.*)$"], [dotall, dollar_endonly]),
    Compiled.

judge(_, _, Major) when Major =/= <<"1">> -> {505, 0};
judge(<<"GET">>, Target, _) ->
    case work_us(path_of(Target)) of
        none -> {404, 0};
        WorkUs -> {200, WorkUs}
    end;
judge(_, _, _) -> {405, 0}.

%% The path of a target in origin-form or absolute-form (RFC 9112, section 3.2), without its query.
path_of(Target) ->
    [Path | _] = binary:split(Target, <<"?">>),
    case Path of
        <<Scheme:7/binary, Rest/binary>> when Rest =/= <<>>, binary_part(Rest, 0, 1) =/= <<"/">> ->
            case string:lowercase(Scheme) of
                <<"http://">> ->
                    case binary:match(Rest, <<"/">>) of
                        {At, _} -> binary_part(Rest, At, byte_size(Rest) - At);
                        nomatch -> <<"/">>
                    end;
                _ -> Path
            end;
        _ -> Path
    end.

%% The microseconds of CPU that a path asks for.
work_us(<<"/">>) -> 0;
work_us(<<"/work/", Digits/binary>>) when Digits =/= <<>>, byte_size(Digits) =< 6 ->
    case is_digits(Digits) andalso binary_to_integer(Digits) of
        WorkUs when is_integer(WorkUs), WorkUs =< ?MAX_WORK_US -> WorkUs;
        _ -> none
    end;
work_us(_) -> none.

is_digits(Text) -> << <<C>> || <<C>> <= Text, C >= $0, C =< $9 >> =:= Text.

%% Walks the header fields up to the blank line. Only what decides the connection is read: bodies never are, so behind a
%% request that has one nothing can follow.
parse_fields(<<"\r\n", Rest/binary>>, Status, WorkUs, KeepAlive) -> {Status, WorkUs, KeepAlive, Rest};
parse_fields(Fields, Status, WorkUs, KeepAlive) ->
    case skip_token(Fields, 0) of
        0 -> malformed;
        Length ->
            case Fields of
                <<Name:Length/binary, ":", Line/binary>> ->
                    ValueLength = skip_value(Line, 0),
                    case Line of
                        <<Value:ValueLength/binary, "\r\n", Rest/binary>> ->
                            case judge_field(Name, Length, Value) of
                                malformed -> malformed;
                                Stays -> parse_fields(Rest, Status, WorkUs, KeepAlive andalso Stays)
                            end;
                        _ -> malformed
                    end;
                _ -> malformed
            end
    end.

skip_token(<<C, Rest/binary>>, Length) when
    C >= $a, C =< $z; C >= $A, C =< $Z; C >= $0, C =< $9; C =:= $-; C =:= $_; C =:= $!; C =:= $.; C =:= $~;
    C >= $#, C =< $'; C =:= $*; C =:= $+; C =:= $^; C =:= $`; C =:= $|
->
    skip_token(Rest, Length + 1);
skip_token(_, Length) -> Length.

skip_value(<<C, Rest/binary>>, Length) when C >= $\s; C =:= $\t -> skip_value(Rest, Length + 1);
skip_value(_, Length) -> Length.

%% Whether the connection stays.
judge_field(Name, 10, Value) ->
    case is_word(Name, <<"connection">>) of
        true -> not lists:any(fun(Item) -> is_word(trim(Item), <<"close">>) end, binary:split(Value, <<",">>, [global]));
        false -> true
    end;
judge_field(Name, 14, Value) ->
    case is_word(Name, <<"content-length">>) of
        true -> judge_length(trim(Value));
        false -> true
    end;
judge_field(Name, 17, _) -> not is_word(Name, <<"transfer-encoding">>);
judge_field(_, _, _) -> true.

judge_length(<<>>) -> malformed;
judge_length(Text) ->
    case is_digits(Text) of
        true -> << <<C>> || <<C>> <= Text, C =/= $0 >> =:= <<>>;
        false -> malformed
    end.

%% Compares without regard to case: bit 0x20 tells a small letter from a capital.
is_word(Text, Word) when byte_size(Text) =:= byte_size(Word) -> << <<(C bor 16#20)>> || <<C>> <= Text >> =:= Word;
is_word(_, _) -> false.

%% Takes spaces and tabs off both ends, and no other white space.
trim(<<C, Rest/binary>>) when C =:= $\s; C =:= $\t -> trim(Rest);
trim(Text) -> trim_end(Text, byte_size(Text)).

trim_end(Text, Length) when Length > 0 ->
    case binary:at(Text, Length - 1) of
        C when C =:= $\s; C =:= $\t -> trim_end(Text, Length - 1);
        _ -> binary_part(Text, 0, Length)
    end;
trim_end(_, _) -> <<>>.

%% ---- Work: no clock tells the CPU time of a process, so a loop is counted whose length was measured ----

burn(Us) -> loop(Us * persistent_term:get(loops_per_us)).

loop(0) -> ok;
loop(N) -> loop(N - 1).

%% Doubles a loop until it takes CALIBRATION_MS of CPU. What else the machine did meanwhile counts too, so at its start, when
%% there is much of that, a loop seems long: the fastest of several measurements is right.
calibrate(Loops) ->
    {Before, _} = statistics(runtime),
    loop(Loops),
    case statistics(runtime) of
        {After, _} when After - Before >= ?CALIBRATION_MS ->
            max(1, Loops div ((After - Before) * 1000));
        _ -> calibrate(2 * Loops)
    end.

%% ---- Connection: a process, and the bytes that it keeps while it waits ----

%% Input: a head whose end has not come. Due: when it must be complete. Kept: how many bytes are counted as kept.
-record(connection, {socket, input = <<>>, due = infinity, kept = 0, in_flight = false}).

%% Receives, answers and sends in turn until the connection ends. A process that waits is a few kilobytes of heap, and
%% the scheduler takes one that computes off its thread after some 4000 calls. A client that does not read its answers is
%% not read either, so what a connection keeps is bounded by one inbox and its answers.
serve(#connection{socket = Socket, due = Due} = Connection) ->
    received(Connection, gen_tcp:recv(Socket, 0, time_left(Due))).

%% A new connection is in flight until it is known that no request came with it: see_off() must not overlook one.
serve_first(#connection{socket = Socket} = Connection) ->
    case gen_tcp:recv(Socket, 0, 0) of
        {error, timeout} -> serve(set_in_flight(Connection, false));
        Came -> received(Connection, Came)
    end.

received(#connection{input = Input} = Connection, {ok, Bytes}) ->
    count(?BYTES_IN, byte_size(Bytes)),
    answer_all(set_in_flight(Connection, true), append(Input, Bytes));
received(Connection, {error, timeout}) ->
    count_status(408),
    send(Connection, answer_to(408, true)),
    linger(Connection);
received(Connection, {error, closed}) -> Connection; % the peer has closed its half, and all it had asked for is answered
received(Connection, {error, Error}) -> failed(Connection, Error).

append(<<>>, Bytes) -> Bytes;
append(Input, Bytes) -> <<Input/binary, Bytes/binary>>.

time_left(infinity) -> infinity;
time_left(Due) -> max(0, Due - now_ms()).

now_ms() -> erlang:monotonic_time(millisecond).

failed(Connection, Error) ->
    count_error(name_of(Error)),
    Connection.

%% Answers every whole request; all answers of one receive leave by one send, and those to work one by one.
answer_all(Connection, Input) ->
    case answer(Input, [], 0) of
        {Answers, Size, Rest, IsLast, WorkUs} ->
            IsNew = byte_size(Rest) < byte_size(Input),
            Kept = keep(Connection, byte_size(Rest) + case Size > ?ONE_ANSWER of true -> Size; false -> 0 end),
            case Answers =:= [] orelse send(Kept, Answers) of
                {error, Error} -> failed(Kept, Error);
                _ when IsLast -> linger(keep(Kept, 0));
                _ when WorkUs > 0 -> answer_all(Kept, Rest);
                _ -> serve(await_rest(keep(Kept, byte_size(Rest)), Rest, IsNew))
            end
    end.

await_rest(Connection, <<>>, _) ->
    set_in_flight(Connection#connection{input = <<>>, due = infinity}, false);
await_rest(#connection{due = Due} = Connection, Rest, IsNew) when IsNew; Due =:= infinity ->
    % A copy: a part of what was received would keep all of it in memory.
    Connection#connection{input = binary:copy(Rest), due = now_ms() + ?HEAD_MS};
await_rest(Connection, Rest, _) -> Connection#connection{input = Rest}.

%% Returns the answers, their size, the input that is left, whether they are the last, and the work that was done.
answer(Input, Answers, Size) ->
    case Input =/= <<>> andalso parse_head(Input) of
        {Status, WorkUs, KeepAlive, Rest} ->
            WorkUs > 0 andalso burn(WorkUs),
            count_status(Status),
            IsLast = not KeepAlive orelse (Rest =:= <<>> andalso is_stopping()),
            Answer = answer_to(Status, IsLast),
            All = [Answers, Answer],
            NewSize = Size + byte_size(Answer),
            if
                IsLast; WorkUs > 0 -> {All, NewSize, Rest, IsLast, WorkUs};
                true -> answer(Rest, All, NewSize)
            end;
        _ -> {Answers, Size, Input, false, 0}
    end.

%% The driver of sockets queues what the kernel does not take, up to 8 KiB; with more, the process waits. Where the peer
%% takes nothing for long the kernel ends the connection.
send(#connection{socket = Socket}, Answers) ->
    case gen_tcp:send(Socket, Answers) of
        ok -> count(?BYTES_OUT, iolist_size(Answers));
        Error -> Error
    end.

%% Counts the bytes that the connection keeps. The process ends where all connections together would keep too many.
keep(#connection{kept = Kept} = Connection, Kept) -> Connection;
keep(#connection{kept = Before} = Connection, Kept) ->
    All = atomics:add_get(persistent_term:get(counts), ?KEPT, Kept - Before),
    New = Connection#connection{kept = Kept},
    if
        Kept > Before, All > ?MAX_KEPT_BYTES -> throw({dropped, New});
        true -> New
    end.

set_in_flight(#connection{in_flight = InFlight} = Connection, InFlight) -> Connection;
set_in_flight(Connection, InFlight) ->
    count(?IN_FLIGHT, case InFlight of true -> 1; false -> -1 end),
    Connection#connection{in_flight = InFlight}.

%% Waits for the end of a connection that was answered for the last time. With input unread close(2) would send RST, and
%% the peer might lose that answer: so what it still sends is thrown away. The time starts when the driver has handed the
%% last byte to the socket.
linger(#connection{socket = Socket} = Connection) ->
    Lingering = set_in_flight(Connection, true),
    gen_tcp:shutdown(Socket, write), % fails only where the peer is gone: recv reports it
    linger(Lingering, infinity).

linger(#connection{socket = Socket} = Connection, infinity) ->
    case inet:getstat(Socket, [send_pend]) of
        {ok, [{send_pend, Bytes}]} when Bytes > 0 ->
            case throw_away(Connection, ?QUIET_MS) of
                goes_on -> linger(Connection, infinity);
                ended -> Connection
            end;
        _ -> linger(Connection, now_ms() + ?LINGER_MS)
    end;
linger(Connection, Due) ->
    case throw_away(Connection, time_left(Due)) of
        goes_on ->
            case time_left(Due) of
                0 -> Connection;
                _ -> linger(Connection, Due)
            end;
        ended -> Connection
    end.

throw_away(#connection{socket = Socket} = Connection, Ms) ->
    case gen_tcp:recv(Socket, 0, Ms) of
        {ok, Bytes} ->
            count(?BYTES_IN, byte_size(Bytes)),
            goes_on;
        {error, timeout} -> goes_on;
        {error, closed} -> ended;
        {error, Error} ->
            failed(Connection, Error),
            ended
    end.

%% ---- The architecture: a process accepts a connection, starts the one that accepts the next, and serves ----

accept(Listener) ->
    case gen_tcp:accept(Listener) of
        {ok, Socket} ->
            count(?ACCEPTED, 1),
            New = set_in_flight(#connection{socket = Socket}, true),
            spawn(?MODULE, accept, [Listener]),
            Ended =
                try
                    serve_first(New)
                catch
                    {dropped, Connection} ->
                        count_error(<<"MAX_KEPT_BYTES">>),
                        Connection
                end,
            keep(Ended, 0),
            gen_tcp:close(Socket),
            set_in_flight(Ended, false),
            count(?CLOSED, 1);
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
    ok = code:ensure_modules_loaded([binary, gen_tcp, inet, inet_tcp, lists, maps, re, string, timer, unicode_util]),
    persistent_term:put(counts, atomics:new(9, [])),
    ets:new(errors, [named_table, public]),
    persistent_term:put(request_line, request_line()),
    make_answers(),
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
    LoopsPerUs = lists:max([calibrate(1000000) || _ <- lists:seq(1, ?CALIBRATIONS)]),
    persistent_term:put(loops_per_us, LoopsPerUs),
    ok = os:set_signal(sigchld, default), % ignored, the kernel would drop the CPU time of children
    [os:set_signal(Signal, handle) || Signal <- [sigterm, sigusr1]],
    gen_event:delete_handler(erl_signal_server, erl_signal_handler, []), % it would end the machine
    ok = gen_event:add_handler(erl_signal_server, ?MODULE, self()),
    {ok, Port} = inet:port(Listener),
    write(1, [
        "{\"event\":\"ready\",\"experiment\":\"erlang-tcp\",\"port\":", integer_to_list(Port), ",\"pid\":", os:getpid(), "}\n"
    ]),
    Try = ["Listening. Try: curl -i http://", Host, $:, integer_to_list(Port), "/\n"],
    write(2, Try),
    spawn(?MODULE, accept, [Listener]),
    wait_for_stop(infinity),
    count(?STOPPING, 1),
    drain(Listener),
    Until = now_ms() + ?STOP_MS,
    see_off(Until, -1, 0),
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

%% Waits until all that was accepted is counted, and nothing is in flight any more. What has come to an older connection but
%% was not received yet is not counted as such, so nothing may come for two stretches.
see_off(Until, Before, Quiet) ->
    wait_for_stop(?QUIET_MS),
    Now = get_count(?BYTES_IN),
    IsQuiet = Now =:= Before andalso get_count(?IN_FLIGHT) =:= 0 andalso get_count(?ENDED) =:= 1,
    case now_ms() >= Until orelse (IsQuiet andalso Quiet =:= 1) of
        true -> ok;
        false when IsQuiet -> see_off(Until, Now, Quiet + 1);
        false -> see_off(Until, Now, 0)
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
